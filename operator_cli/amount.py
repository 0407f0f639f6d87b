"""Amounts of credits as people write and read them: US dollars, exact, beside whole credits."""

from decimal import Decimal, InvalidOperation
from typing import Final

from charging.money import credits_of, trimmed, usd_of
from ledger.accounts import MOST
from operator_cli.terminal import fail

_MOST: Final = usd_of(MOST)


def credits_in(text: str, *, signed: bool = False) -> int:
    """Read US dollars as credits; ends the command with 2 where it is no such amount.

    Below zero only where `signed`.
    """
    try:
        usd = Decimal(text)
    except InvalidOperation:
        fail(f"an amount is US dollars such as 12.50, not {text!r}", 2)
    if not usd.is_finite() or (usd < 0 and not signed):
        fail(f"an amount of US dollars is never below zero here, nor without end: {text!r}", 2)
    if abs(usd) > _MOST:
        fail(f"an amount is at most {_MOST} US dollars", 2)
    try:
        return credits_of(usd)
    except ValueError as error:
        fail(str(error), 2)


def spelled(credits_: int) -> str:
    """Return credits as a sentence has them."""
    return f"{credits_} credits ({trimmed(usd_of(credits_))} USD)"


def usd(credits_: int | None) -> Decimal | None:
    """Return credits in US dollars; None where there is no amount."""
    return None if credits_ is None else usd_of(credits_)
