"""What a movement of credits means for whoever watches the account. Pure."""

from collections.abc import Collection
from typing import Any, Final

import msgspec

from charging.holds import Kind
from schemas.credits import CreditEventType

ANYTHING: Final = 1
"""Whoever has less than this has nothing left: the least amount of credits."""


ENDLESS: Final = 2**63
"""What is left of an account without a limit: more than any account can have."""


class Balance(msgspec.Struct, frozen=True, gc=False):
    """An account behind a movement, whole credits; a `limit` of None is without end."""

    billing_account_id: str
    kind: Kind
    balance: int
    held: int
    limit: int | None


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that has no id and no time yet; fields as in `schemas.credits.CreditEvent`."""

    type: CreditEventType
    billing_account_id: str
    kind: Kind
    balance: int
    held: int
    limit: int | None
    threshold: int | None = None
    amount: int | None = None
    reason: str | None = None


def fallen(before: int, now: Balance, thresholds: Collection[int]) -> list[NewEvent]:
    """Return the thresholds that a movement crossed downwards, and whether nothing is left.

    `before` is what was left of the account (balance and limit), credits. An account without end
    crosses nothing, and neither does what rises. Held amounts do not count: they come back.
    """
    if now.limit is None:
        return []
    left = now.balance + now.limit
    crossed = sorted((one for one in thresholds if left < one <= before), reverse=True)
    events = [_event(CreditEventType.THRESHOLD_CROSSED, now, threshold=one) for one in crossed]
    if left < ANYTHING <= before:
        events.append(_event(CreditEventType.EXHAUSTED, now))
    return events


def moved(amount: int, reason: str, now: Balance, thresholds: Collection[int]) -> list[NewEvent]:
    """Return what a movement by hand or by a payment means; `amount` is signed, credits."""
    if amount > 0:
        return [_event(CreditEventType.TOPPED_UP, now, amount=amount, reason=reason)]
    if now.limit is None:
        return []
    return fallen(now.balance - amount + now.limit, now, thresholds)


def _event(kind: CreditEventType, now: Balance, **more: Any) -> NewEvent:  # noqa: ANN401 - fields
    return NewEvent(
        type=kind,
        billing_account_id=now.billing_account_id,
        kind=now.kind,
        balance=now.balance,
        held=now.held,
        limit=now.limit,
        **more,
    )
