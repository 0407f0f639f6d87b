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


def credits_of(usd: Decimal) -> int:
    """Return an amount in credits. Raises `ValueError` where it is no whole number of them."""
    try:
        credits_ = _EXACT.multiply(usd, CREDITS_PER_USD)
        whole = credits_.to_integral_exact(context=_EXACT)
    except ArithmeticError:
        raise ValueError(
            f"{usd} is no whole number of credits: a US dollar has {CREDITS_PER_USD} of them, so "
            "an amount has at most seven digits behind the point"
        ) from None
    return int(whole)


def usd_of(credits_: int) -> Decimal:
    """Return credits in US dollars, exactly, without zeros at the end."""
    return Decimal(trimmed(_EXACT.divide(credits_, CREDITS_PER_USD)))


def priced(*parts: tuple[int, Decimal]) -> Decimal:
    """Return the exact sum of numbers of things, each times its price.

    Raises a `decimal` signal rather than return an inexact one.
    """
    total = Decimal(0)
    for count, price in parts:
        total = _EXACT.add(total, _EXACT.multiply(Decimal(count), price))
    return total


def times(amount: Decimal, factor: Decimal) -> Decimal:
    """Return the exact product. Raises a `decimal` signal rather than return an inexact one."""
    return _EXACT.multiply(amount, factor)


def ratio(amount: Decimal, of: Decimal) -> Decimal:
    """Return the exact quotient. Raises a `decimal` signal rather than return an inexact one."""
    return _EXACT.divide(amount, of)


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
