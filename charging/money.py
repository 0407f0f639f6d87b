"""Money: exact decimals from the JSON text to the ledger (MONEY_IS_EXACT)."""

from collections.abc import Iterable
from decimal import (
    ROUND_CEILING,
    Clamped,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    Underflow,
)
from typing import Final

from schemas.receipt import plain

CREDITS_PER_USD: Final = 10_000_000

# Wide enough for every cost that the contract lets in times every markup that the settings let in;
# a product that would need rounding raises instead.
_EXACT: Final = Context(
    prec=1_000, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow, Underflow, Clamped]
)


def charge(response_cost_usd: Decimal, markup: Decimal) -> tuple[Decimal, int]:
    """Return what a call is charged: US dollars, exact, and whole credits.

    `charged_usd = response_cost_usd × markup`; `charged_credits = ceil(charged_usd × 10,000,000)`,
    the only rounding there is. Raises a `decimal` signal rather than return an inexact product.
    """
    charged_usd = _EXACT.multiply(response_cost_usd, markup)
    credits_ = _EXACT.multiply(charged_usd, CREDITS_PER_USD).to_integral_value(ROUND_CEILING)
    return charged_usd, int(credits_)


def summed(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum, without zeros at its end.

    Raises a `decimal` signal rather than return an inexact one.
    """
    total = Decimal(0)
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return Decimal(trimmed(total))


def trimmed(amount: Decimal) -> str:
    """Return `amount` in plain decimal notation without zeros at its end: equal ones are equal."""
    text = plain(amount)
    return text.rstrip("0").rstrip(".") if "." in text else text
