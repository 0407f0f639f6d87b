"""Judging: rows of the spend log against the ledger, asked once a page."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from charging.charge import DECIDED
from charging.decision import Policy
from ledger.reconciliation import KnownCall, Reconciliation
from reconciler.comparison import Books, Compared, Entry, Known, Verdict, compare
from reconciler.reposting import Unidentified, key_of, response_id
from reconciler.row import SpendLog
from schemas.text import identifier


class Asked(msgspec.Struct, frozen=True):
    """By what the books are asked for the calls of some rows: each row by one of these."""

    keys: list[str]
    calls: list[str]
    responses: list[str]


def asked_of(rows: Iterable[SpendLog]) -> Asked:
    """Return by what the calls of `rows` may be found; ids as the tables have them."""
    asked = Asked([], [], [])
    for row in rows:
        key = key_of(row)
        if not isinstance(key, Unidentified):
            asked.keys.append(key)
        elif key is Unidentified.NO_CALL_ID:
            asked.responses.append(identifier(response_id(row)))
        else:
            asked.calls.append(identifier(row.litellm_call_id or ""))
    return asked


def known_of(call: KnownCall) -> Known:
    """Return what the ledger tells of a call as the comparison wants it."""
    receipt = call.receipt is not None
    by_hand = call.cost_source in DECIDED
    return Known(
        call.call_key,
        call.litellm_call_id,
        call.response_id,
        Entry.RECEIPT if receipt else Entry.DEFERRAL,
        None if by_hand else call.cost,
        call.cost,
        call.receipt,
        call.contradicted,
        call.awaits_cost,
    )


class Judge:
    """Says what becomes of rows; `policy` is the consumer's."""

    def __init__(self, books: Reconciliation, policy: Policy) -> None:
        self._books = books
        self._policy = policy

    def judged(self, rows: Sequence[SpendLog], now: datetime, grace: timedelta) -> list[Compared]:
        """Return what becomes of each row, in order. Raises `LedgerError`."""
        if not rows:
            return []
        asked = asked_of(rows)
        found = self._books.known(asked.keys, asked.calls, asked.responses)
        compared = compare(rows, Books(map(known_of, found)), now, grace, self._policy)
        return self._not_elsewhere(compared)

    def _not_elsewhere(self, compared: list[Compared]) -> list[Compared]:
        """Tell lost calls from those that another source has been charged for."""
        lost = [at for at, one in enumerate(compared) if one.verdict is Verdict.MISSING]
        keys = {at: str(key_of(compared[at].row)) for at in lost}
        if not keys:
            return compared
        elsewhere = {one.call_key: one for one in self._books.elsewhere(list(keys.values()))}
        for at, key in keys.items():
            if key in elsewhere:
                found = known_of(elsewhere[key])
                compared[at] = replace(compared[at], verdict=Verdict.ELSEWHERE, known=found)
        return compared
