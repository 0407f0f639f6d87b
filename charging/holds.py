"""Holds: what may become of one, and which calls an account can afford. Pure.

All amounts are whole credits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["prepaid", "postpaid"]


class HoldState(StrEnum):
    """Where a hold is in its life."""

    HELD = "held"
    CAPTURED = "captured"
    RELEASED = "released"
    EXPIRED = "expired"


NEXT: Final[Mapping[HoldState, frozenset[HoldState]]] = {
    HoldState.HELD: frozenset({HoldState.CAPTURED, HoldState.RELEASED, HoldState.EXPIRED}),
    HoldState.CAPTURED: frozenset(),
    HoldState.RELEASED: frozenset(),
    HoldState.EXPIRED: frozenset(),
}
"""What each state may become. Credits are freed when a hold leaves `held`; none returns to it."""


def may_become(state: HoldState, wanted: HoldState) -> bool:
    """Say whether a hold in `state` may become `wanted`."""
    return wanted in NEXT[state]


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it is while its row is locked.

    `limit` is how far below zero holds may take it; None: without end.
    """

    kind: Kind
    balance: int
    held: int
    limit: int | None

    @property
    def available(self) -> int | None:
        """What further holds may take, below zero where too much was charged; None: any amount."""
        return None if self.limit is None else self.balance - self.held + self.limit


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to one ask: whether it is admitted, and what is available behind it."""

    admitted: bool
    required: int
    available: int | None


def admit(account: Account, amounts: Sequence[int]) -> list[Admission]:
    """Return the answer to each amount, in order; what is admitted is there no more for the next.

    One that is refused takes nothing, so a smaller one behind it may be admitted. An amount of 0 is
    always admitted, even where the account is overdrawn: such a call costs nothing.
    """
    answers, available = list[Admission](), account.available
    for amount in amounts:
        admitted = amount == 0 or available is None or amount <= available
        if admitted and available is not None:
            available -= amount
        answers.append(Admission(admitted, amount, available))
    return answers
