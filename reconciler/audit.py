"""The audit: LiteLLM log rows = receipts + deferred + skipped + dead letters + missing. Pure.

To the call id, and in money: the log's spend against the receipts' cost. What the books hold is
seen; what they keep nothing of (skips, dead letters) is judged by the consumer's own decision on
the callback that the row makes, and said to be so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Context, Decimal
from enum import StrEnum
from typing import Final

import msgspec

from charging.money import trimmed
from ledger.reconciliation import State, WrittenReceipt
from reconciler.comparison import Compared, Verdict
from reconciler.row import OddRow
from reconciler.units import Unit
from schemas.headers import Reason
from schemas.text import identifier

_ZERO: Final = Decimal(0)
_EXACT: Final = Context(prec=1_000)
"""No sum of a month is rounded."""


class What(StrEnum):
    """What a row of the log is in the books."""

    RECEIPT = "receipts"
    DIFFERS = "receipts of another amount"
    DEFERRED = "deferred"
    SKIPPED = "skipped"
    DEAD_LETTER = "dead letters"
    MISSING = "missing"
    ELSEWHERE = "receipts of another source"
    UNIDENTIFIED = "unidentified"
    UNREADABLE = "unreadable rows"
    TOO_YOUNG = "too young to say"


SEEN: Final = frozenset(
    {What.RECEIPT, What.DIFFERS, What.DEFERRED, What.MISSING, What.ELSEWHERE, What.UNREADABLE}
)
"""What the log and the books say; the others are judged."""
_FAULTS: Final = frozenset(
    {What.DIFFERS, What.MISSING, What.ELSEWHERE, What.UNIDENTIFIED, What.UNREADABLE}
)
"""What keeps an audit from balancing, unless a person has closed it or no money is in it."""
_OF: Final[Mapping[Verdict, What]] = {
    Verdict.MATCHED: What.RECEIPT,
    Verdict.DIFFERS: What.DIFFERS,
    Verdict.DEFERRED: What.DEFERRED,
    Verdict.PRICED: What.DEFERRED,
    Verdict.DEAD_LETTER: What.DEAD_LETTER,
    Verdict.COSTS_NOTHING: What.SKIPPED,
    Verdict.TOO_YOUNG: What.TOO_YOUNG,
    Verdict.MISSING: What.MISSING,
    Verdict.UNIDENTIFIED: What.UNIDENTIFIED,
    Verdict.ELSEWHERE: What.ELSEWHERE,
}
CONTRADICTED: Final = "receipt, contradicted by another callback"
NO_ROW: Final = "receipt without a row"
UNIT: Final = "usage unit without receipt, deferral or row"


class Line(msgspec.Struct, frozen=True):
    """How many rows are one thing, and what they cost by the log and by the receipts."""

    what: str
    calls: int
    known: str
    log_usd: Decimal
    receipts_usd: Decimal
    difference_usd: Decimal


class Item(msgspec.Struct, frozen=True):
    """One call that is to be looked at."""

    what: str
    request_id: str | None
    litellm_call_id: str | None
    call_key: str | None
    started_at: datetime | None
    log_usd: Decimal | None
    receipt_usd: Decimal | None
    difference_usd: Decimal | None
    reason: str | None
    reposted_at: datetime | None
    closed_at: datetime | None


@dataclass
class _Sum:
    calls: int = 0
    log_usd: Decimal = _ZERO
    receipts_usd: Decimal = _ZERO

    def add(self, log_usd: Decimal | None, receipts_usd: Decimal | None, calls: int = 1) -> None:
        self.calls += calls
        self.log_usd = _EXACT.add(self.log_usd, log_usd or _ZERO)
        self.receipts_usd = _EXACT.add(self.receipts_usd, receipts_usd or _ZERO)


def _less(one: Decimal, other: Decimal) -> Decimal:
    return Decimal(trimmed(_EXACT.subtract(one, other)))


def what_of(one: Compared) -> What:
    """Return what a row is in the books."""
    # It would have been parked; there is no such record in the books.
    if one.verdict is Verdict.UNIDENTIFIED and isinstance(one.reason, Reason):
        return What.DEAD_LETTER
    return _OF[one.verdict]


@dataclass
class Audit:
    """Adds up. `most` is how many items are kept; `items_left_out` counts the others."""

    most: int
    items: list[Item] = field(default_factory=list)
    items_left_out: int = 0
    faults: int = 0
    contradicted: int = 0
    unmatched_units: int = 0
    _sums: dict[What, _Sum] = field(default_factory=dict)
    _without_row: _Sum = field(default_factory=_Sum)
    _unreadable: set[str | None] = field(default_factory=set)

    def add(self, compared: Iterable[Compared], states: Mapping[str, State]) -> None:
        """Add rows that are in the time; `states` says what was done about some of them."""
        for one in compared:
            what = what_of(one)
            billed = one.known.billed if one.known and what is not What.ELSEWHERE else None
            self._count(what, one.row.spend, billed)
            state = states.get(identifier(one.row.request_id), State(None, None))
            if what in _FAULTS:
                self._fault(what, one, state)
                self._keep(_item(what, one, state))
            elif one.known and one.known.contradicted:
                self.contradicted += 1
                self._keep(_item(CONTRADICTED, one, state))

    def _fault(self, what: What, one: Compared, state: State) -> None:
        harmless = what is What.UNIDENTIFIED and not one.row.spend
        if state.closed_at is None and not harmless:
            self.faults += 1

    def unreadable(self, odd: Iterable[OddRow]) -> None:
        """Add rows that cannot be read; one that comes again, at a day's edge, is one."""
        for row in odd:
            if row.request_id is not None and row.request_id in self._unreadable:
                continue
            self._unreadable.add(row.request_id)
            self._count(What.UNREADABLE, None, None)
            self.faults += 1
            self._keep(_blank(What.UNREADABLE, request_id=row.request_id, reason=row.fault))

    def without_row(self, receipt: WrittenReceipt) -> None:
        """Add a receipt of which the log has no row: no fault, as LiteLLM loses rows."""
        self._without_row.add(None, receipt.response_cost_usd)
        self._keep(
            _blank(
                NO_ROW,
                request_id=receipt.response_id,
                litellm_call_id=receipt.litellm_call_id,
                call_key=receipt.call_key,
                receipt_usd=receipt.response_cost_usd,
            )
        )

    def unit(self, unit: Unit) -> None:
        """Add a usage unit that nothing explains."""
        self.unmatched_units += 1
        self._keep(
            _blank(
                UNIT,
                request_id=unit["response_id"],
                litellm_call_id=unit["litellm_call_id"],
                reason=f"run {unit['run_id']}/{unit['attempt']}, unit {unit['unit_id']}",
            )
        )

    def _count(self, what: What, log_usd: Decimal | None, receipts_usd: Decimal | None) -> None:
        self._sums.setdefault(what, _Sum()).add(log_usd, receipts_usd)

    def _keep(self, item: Item) -> None:
        if len(self.items) < self.most:
            self.items.append(item)
        else:
            self.items_left_out += 1

    @property
    def balanced(self) -> bool:
        """Whether each row has its receipt, deferral or skip, and each receipt the log's amount."""
        return not self.faults

    @property
    def lines(self) -> list[Line]:
        """The sums, each part of the equation a line, then their total."""
        lines = [_line(what, self._sums.get(what, _Sum())) for what in What]
        total = _Sum()
        for one in self._sums.values():
            total.add(one.log_usd, one.receipts_usd, one.calls)
        told = _line_of("LiteLLM log rows", total, "seen")
        return [*lines, told, _line_of("receipts without a row", self._without_row, "seen")]


def _line(what: What, one: _Sum) -> Line:
    return _line_of(what, one, "seen" if what in SEEN else "judged")


def _line_of(what: str, one: _Sum, known: str) -> Line:
    difference = _less(one.log_usd, one.receipts_usd)
    return Line(what, one.calls, known, one.log_usd, one.receipts_usd, difference)


def _item(what: str, one: Compared, state: State) -> Item:
    row, known = one.row, one.known
    billed = known.billed if known else None
    return Item(
        what=what,
        request_id=row.request_id,
        litellm_call_id=row.litellm_call_id,
        call_key=known.call_key if known else None,
        started_at=row.start,
        log_usd=row.spend,
        receipt_usd=billed,
        difference_usd=_less(row.spend or _ZERO, billed or _ZERO),
        reason=one.reason,
        reposted_at=state.reposted_at,
        closed_at=state.closed_at,
    )


def _blank(
    what: str,
    *,
    request_id: str | None = None,
    litellm_call_id: str | None = None,
    call_key: str | None = None,
    receipt_usd: Decimal | None = None,
    reason: str | None = None,
) -> Item:
    return Item(
        what=what,
        request_id=request_id,
        litellm_call_id=litellm_call_id,
        call_key=call_key,
        started_at=None,
        log_usd=None,
        receipt_usd=receipt_usd,
        difference_usd=None if receipt_usd is None else -receipt_usd,
        reason=reason,
        reposted_at=None,
        closed_at=None,
    )
