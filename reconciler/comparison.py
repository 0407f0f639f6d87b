"""The comparison: rows of the spend log against what the ledger knows of their calls. Pure.

What a row costs is not judged here: it is made into a callback and the consumer's own decision is
asked (`charging.decision`), so a failed call, a refused login or a health check is what it would be
on the ordinary path.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from charging.decision import Policy, decide
from charging.outcomes import Charge, Parked, Skipped, SkippedReason
from charging.repeats import same_amount
from reconciler.reposting import Unidentified, callback_of, is_timed, key_of, response_id
from reconciler.row import SpendLog
from schemas.headers import Reason
from schemas.record import Record


class Entry(StrEnum):
    """What the books have of a call."""

    RECEIPT = "receipt"
    DEFERRAL = "deferral"
    """Open or closed."""
    DEAD_LETTER = "dead_letter"


class Known(msgspec.Struct, frozen=True, gc=False):
    """What the books know of one call.

    `cost` is what its receipt says LiteLLM said; None for what is no receipt, and for a receipt
    whose cost a person has set. `billed` is the receipt's cost, whoever has set it, `receipt` its
    id, and `contradicted` says that a callback of the call said otherwise. `awaits_cost` is an open
    deferral for which any cost is an answer.
    """

    call_key: str
    litellm_call_id: str | None
    response_id: str
    entry: Entry
    cost: Decimal | None = None
    billed: Decimal | None = None
    receipt: UUID | None = None
    contradicted: bool = False
    awaits_cost: bool = False


class Verdict(StrEnum):
    """What becomes of a row."""

    MATCHED = "matched"
    """Its call has a receipt of the same amount."""
    DIFFERS = "differs"
    """It has a receipt of another amount."""
    DEFERRED = "deferred"
    """It waits in the books for its cost."""
    PRICED = "priced"
    """It waits in the books for its cost, and the row has it: the callback is made anew."""
    DEAD_LETTER = "dead_letter"
    """Its callback came and could not be billed as it stands."""
    COSTS_NOTHING = "costs_nothing"
    """The books keep nothing of such a call."""
    TOO_YOUNG = "too_young"
    """Nothing is known of it yet, and its callback may still come."""
    MISSING = "missing"
    """Nothing is known of it: its callback is lost, and is made anew."""
    UNIDENTIFIED = "unidentified"
    """Nothing is known of it, and the row does not tell the key of its call: it is for a person.
    Posted under another key it could be charged twice."""
    ELSEWHERE = "elsewhere"
    """Its call has a receipt of another source: posted under this one it would be charged twice."""


class Compared(msgspec.Struct, frozen=True, gc=False):
    """A row, what becomes of it, and why.

    `reason` is why it costs nothing, or what is not known of it; `known` what it was found by.
    """

    row: SpendLog
    verdict: Verdict
    reason: SkippedReason | Unidentified | Reason | None = None
    known: Known | None = None

    @property
    def difference(self) -> Decimal:
        """LiteLLM's figure in its spend log, less the receipt's; 0 where they are one amount."""
        if self.verdict is not Verdict.DIFFERS or self.known is None or self.known.cost is None:
            return Decimal(0)
        return (self.row.spend or Decimal(0)) - self.known.cost


class Books:
    """What the books know of the calls of some rows, to be looked up by what a row tells."""

    __slots__ = ("_by_call", "_by_key", "_by_response")

    def __init__(self, known: Iterable[Known]) -> None:
        self._by_key: dict[str, Known] = {}
        self._by_call: Mapping[str, list[Known]] = defaultdict(list)
        self._by_response: Mapping[str, list[Known]] = defaultdict(list)
        for one in known:
            # A receipt says more than the deferral that it has closed.
            if one.entry is Entry.RECEIPT or one.call_key not in self._by_key:
                self._by_key[one.call_key] = one
            if one.litellm_call_id is not None:
                self._by_call[one.litellm_call_id].append(one)
            self._by_response[one.response_id].append(one)

    def of(self, row: SpendLog, key: str | Unidentified) -> Known | None:
        """Return what is known of the call of `row`, whose key is `key`."""
        if not isinstance(key, Unidentified):
            return self._by_key.get(key)
        if key is Unidentified.NO_CALL_ID:
            return _best(row, self._by_response.get(response_id(row), ()))
        calls = self._by_call.get(row.litellm_call_id or "", ())
        if key is Unidentified.CACHE_HIT:
            return _best(row, [one for one in calls if _answers(row, one)])
        # A result is under a key of its own; its receipt has the ids of its create.
        own = [one for one in calls if one.response_id == row.request_id]
        return max(own, key=lambda one: one.entry is Entry.RECEIPT, default=None)


def _answers(row: SpendLog, one: Known) -> bool:
    """Say whether a receipt is of the cache hit that `row` is, whatever time its id ends with."""
    if not is_timed(row):
        return one.response_id == row.request_id
    stem, _, time = one.response_id.rpartition("_cache_hit")
    return stem == response_id(row) and time.replace(".", "", 1).isdecimal()


def _best(row: SpendLog, found: Sequence[Known]) -> Known | None:
    """Return the one that agrees with the row, else any: several calls may share one id."""
    return next((one for one in found if _agrees(row, one)), found[0] if found else None)


def _agrees(row: SpendLog, known: Known) -> bool:
    # A cost that a person has set is the answer to LiteLLM's, not another writing of it.
    if known.entry is not Entry.RECEIPT or known.cost is None:
        return True
    return same_amount(row.spend or Decimal(0), known.cost)


_OF_ENTRY: Final = {
    Entry.DEFERRAL: Verdict.DEFERRED,
    Entry.DEAD_LETTER: Verdict.DEAD_LETTER,
}


def compare(
    rows: Iterable[SpendLog], books: Books, now: datetime, grace: timedelta, policy: Policy
) -> list[Compared]:
    """Return what becomes of each row, in order.

    `now` is the time as the proxy has it, `grace` how long after its end a call may be unknown.
    `policy` is the consumer's.
    """
    return [_compare(row, books, now - grace, policy) for row in rows]


def _compare(row: SpendLog, books: Books, old: datetime, policy: Policy) -> Compared:
    key = key_of(row)
    known = books.of(row, key)
    if known is not None:
        verdict = _found(row, key, known)
        if verdict is Verdict.DEFERRED and row.ended <= old and _prices(row, key, known, policy):
            verdict = Verdict.PRICED
        return Compared(row, verdict, known=known)
    outcome = decide(_record(row, policy), policy)
    if isinstance(outcome, Skipped):
        return Compared(row, Verdict.COSTS_NOTHING, outcome.reason)
    if row.ended > old:
        return Compared(row, Verdict.TOO_YOUNG)
    if isinstance(outcome, Parked):
        return Compared(row, Verdict.UNIDENTIFIED, outcome.reason)
    if isinstance(key, Unidentified):
        return Compared(row, Verdict.UNIDENTIFIED, key)
    return Compared(row, Verdict.MISSING)


def _found(row: SpendLog, key: str | Unidentified, known: Known) -> Verdict:
    # The row of a create says 0, and the receipt that has its ids says what its result cost.
    if key is not Unidentified.BACKGROUND and not _agrees(row, known):
        return Verdict.DIFFERS
    return _OF_ENTRY.get(known.entry, Verdict.MATCHED)


def _prices(row: SpendLog, key: str | Unidentified, known: Known, policy: Policy) -> bool:
    """Say whether the row has the cost for which its call waits, under the key of that call."""
    return (
        known.awaits_cost
        and key == known.call_key
        and bool(row.spend)
        and isinstance(decide(_record(row, policy), policy), Charge)
    )


def _record(row: SpendLog, policy: Policy) -> Record:
    """Return the record that the row would be. Only what becomes of it is asked, not for whom."""
    topic = f"not-{policy.usage_units_topic}"
    ended_ms = int(row.ended.timestamp() * 1_000)
    return Record(topic, 0, 0, ended_ms, None, callback_of(row), [])
