"""What becomes of asks for holds, given the accounts that they are about. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeAlias
from uuid import UUID, uuid4

import msgspec

from charging.holds import Account, Admission, HoldState, Kind, admit

Outcome: TypeAlias = Literal["held", "known", "free", "refused", "unknown", "locked"]
Key: TypeAlias = tuple[str, str, str]


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A call that wants to be made: at most `amount` credits of `account`, for so many seconds.

    Its texts are `schemas.text.identifier`s. `account`, `litellm_call_id` and `nonce` together are
    its key: the same key is the same hold. `of_run`: an account that an executor has named for the
    run counts instead of `account`, as it does for the receipt.
    """

    account: str
    litellm_call_id: str
    nonce: str
    amount: int
    seconds: int
    run_id: str | None = None
    attempt: int | None = None
    model: str | None = None
    of_run: bool = False

    @property
    def key(self) -> Key:
        """What makes two asks the same."""
        return self.account, self.litellm_call_id, self.nonce


class HoldRow(msgspec.Struct, frozen=True, gc=False):
    """A hold as it is now; whoever knows its id may end it."""

    id: UUID
    account: str
    amount: int
    state: str
    expires_at: datetime


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What became of an ask.

    `held`: placed now. `known`: it is there since an earlier ask of the same key, whatever that
    asked for. `free`: nothing to hold, no row. `refused`: not so much is available. `unknown`:
    nobody has opened the account, and none is opened for it. `locked`: another transaction has the
    account, and nothing is decided. `available` is what is left behind it; None: without end.
    `account` is named where it is the run's, and not that of the ask.
    """

    answer: Outcome
    required: int
    available: int | None
    kind: Kind | None
    hold: HoldRow | None = None
    account: str | None = None


class Placed(msgspec.Struct, frozen=True, gc=False):
    """A hold to add."""

    id: UUID
    ask: Ask
    expires_at: datetime


class Decided:
    """What becomes of asks whose accounts are locked.

    `answers` are in the order of the asks, None where nobody has opened the account; `placed` are
    the rows to add.
    """

    def __init__(
        self,
        asks: Sequence[Ask],
        locked: Mapping[str, Account],
        known: Mapping[Key, HoldRow],
        now: datetime,
    ) -> None:
        self._locked = locked
        self._known = known
        self._now = now
        # Of asks with one key in one batch the first counts, as it would in two batches.
        first = {ask.key: ask for ask in reversed(asks) if ask.key not in known}
        self._admissions = dict[Key, Admission]()
        self._left = {name: account.available for name, account in locked.items()}
        asked = defaultdict[str, list[Ask]](list)
        for ask in asks:
            if ask.account in locked and first.get(ask.key) is ask:
                asked[ask.account].append(ask)
        for name, own in asked.items():
            admitted = admit(locked[name], [ask.amount for ask in own])
            self._admissions.update(zip((ask.key for ask in own), admitted, strict=True))
            self._left[name] = admitted[-1].available
        self._new = dict[Key, HoldRow]()
        self.placed = list[Placed]()
        self.answers = [self._answer(ask) for ask in asks]

    def _answer(self, ask: Ask) -> Answer | None:
        account = self._locked.get(ask.account)
        if account is None:
            return None
        if found := self._known.get(ask.key) or self._new.get(ask.key):
            left = self._left[ask.account]
            return Answer("known", found.amount, left, account.kind, found)
        one = self._admissions[ask.key]
        hold = self._hold(ask) if one.admitted and one.required else None
        answer: Outcome = "held" if hold else "free" if one.admitted else "refused"
        return Answer(answer, one.required, one.available, account.kind, hold)

    def _hold(self, ask: Ask) -> HoldRow:
        expires_at = self._now + timedelta(seconds=ask.seconds)
        row = HoldRow(uuid4(), ask.account, ask.amount, HoldState.HELD.value, expires_at)
        self._new[ask.key] = row
        self.placed.append(Placed(row.id, ask, expires_at))
        return row
