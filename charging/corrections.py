"""What a correction makes of the charge of a receipt, and which corrections there cannot be. Pure.

A correction moves what is charged. What the call cost stays LiteLLM's figure, untouched: LiteLLM's
log and the provider's bill know nothing of corrections, and are compared with that figure.
"""

from decimal import Decimal
from typing import Final, NamedTuple

from charging.money import charge, ratio, summed, trimmed
from schemas.correction import CorrectionReason

_SETTLES: Final = frozenset({CorrectionReason.TWIN, CorrectionReason.CONFLICT})
"""What somebody has looked at may be right as it stands: an amount of zero says so."""
_LOWERS: Final = frozenset({CorrectionReason.REFUND, CorrectionReason.TWIN})
_ONE: Final = Decimal(1)
_MOST_CREDITS: Final = 4 * 10**18


class CorrectionError(Exception):
    """There cannot be such a correction; the text says why, and nothing was changed."""


class Charged(NamedTuple):
    """What a receipt charges with its corrections so far."""

    usd: Decimal
    credits: int


class Wish(NamedTuple):
    """What is asked for: an amount to be added, or the charge `to` which it comes; one of them."""

    reason: CorrectionReason
    amount_usd: Decimal | None = None
    to_usd: Decimal | None = None


class Change(NamedTuple):
    """What a correction adds, signed, and what is charged then."""

    amount_usd: Decimal
    amount_credits: int
    charged: Charged


def change(now: Charged, wish: Wish) -> Change:
    """Return what is to be added to the charge `now`, US dollars exactly and whole credits.

    The credits are those of the corrected charge, rounded up once, less those of the charge `now`:
    however often it is corrected, no rounding adds to another.

    Raises `CorrectionError`.
    """
    try:
        target = _target(now, wish)
        amount = summed((target, -now.usd))
        usd, credits_ = charge(target, _ONE)
    except ArithmeticError as error:
        raise CorrectionError("the amount has too many digits to be computed exactly") from error
    _check(now, wish.reason, amount, target)
    if credits_ > _MOST_CREDITS:
        raise CorrectionError(f"a receipt charges at most {_MOST_CREDITS} credits")
    return Change(amount, credits_ - now.credits, Charged(usd, credits_))


def markup_of(cost_usd: Decimal, charged_usd: Decimal, otherwise: Decimal) -> Decimal:
    """Return the markup by which a receipt was charged; `otherwise` where it does not tell."""
    try:
        return ratio(charged_usd, cost_usd)
    except ArithmeticError:
        return otherwise


def _target(now: Charged, wish: Wish) -> Decimal:
    if (wish.amount_usd is None) == (wish.to_usd is None):
        raise CorrectionError("say either the amount to add or the charge that is right")
    given = wish.to_usd if wish.amount_usd is None else wish.amount_usd
    if given is None or not given.is_finite():
        raise CorrectionError("an amount of US dollars is a number with an end")
    return summed((given,)) if wish.amount_usd is None else summed((now.usd, given))


def _check(now: Charged, reason: CorrectionReason, amount: Decimal, target: Decimal) -> None:
    if target < 0:
        raise CorrectionError(
            f"the receipt charges {trimmed(now.usd)} USD with its corrections: "
            f"{trimmed(amount)} USD would leave {trimmed(target)}, and no receipt may charge less "
            "than nothing"
        )
    if not amount and reason not in _SETTLES:
        raise CorrectionError(f"the receipt charges {trimmed(now.usd)} USD already")
    if amount > 0 and reason in _LOWERS:
        raise CorrectionError(
            f"a correction for the reason {reason.value} takes from the charge of "
            f"{trimmed(now.usd)} USD; this one would add {trimmed(amount)}"
        )
    if amount < 0 and reason is CorrectionReason.LATE_USAGE:
        raise CorrectionError(
            f"late usage adds to the charge of {trimmed(now.usd)} USD; this correction would take "
            f"{trimmed(-amount)}"
        )
