"""Auditing: a time of the spend log against the books, a day at a time. Changes nothing."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog

from ledger.reconciliation import Reconciliation
from reconciler.audit import Audit
from reconciler.comparison import Compared
from reconciler.findings import OPEN
from reconciler.judging import Judge
from reconciler.spend_logs import Page, SpendLogs, Window, ahead, windows
from reconciler.units import UnmatchedUnits
from schemas.text import identifier

log = structlog.get_logger("reconciler")

_DAY: Final = timedelta(days=1)
_MARGIN: Final = timedelta(seconds=2)
"""The log's times have milliseconds and so has a receipt's length: at a day's edge the two may lie
on both sides of it."""
_LOW: Final = 2**64 - 1
_MOST_UNITS: Final = 10_000
_PAGES_A_LINE: Final = 50


class Auditor:
    """Audits. It holds a page of rows, and a number for each receipt of a day."""

    def __init__(
        self,
        logs: SpendLogs,
        books: Reconciliation,
        judge: Judge,
        *,
        grace: timedelta,
        now: Callable[[], datetime],
        turned: Callable[[], None] = lambda: None,
    ) -> None:
        self._logs = logs
        self._books = books
        self._judge = judge
        self._grace = grace
        self._now = now
        self._turned = turned

    def audit(self, start: datetime, end: datetime, most_items: int) -> Audit:
        """Return what a time adds up to: calls that began from `start` on and before `end`.

        Raises `SpendLogError` and `LedgerError`.
        """
        found = Audit(most_items)
        for day in windows(start, end, _DAY):
            self._day(day, found)
        return found

    def _day(self, day: Window, found: Audit) -> None:
        seen = set[int]()
        units = UnmatchedUnits(
            self._books.unmatched_units(_MOST_UNITS, start=day.start, until=day.end)
        )
        wider = Window(day.start - _MARGIN, day.end + _MARGIN)
        rows = 0
        for number, page in enumerate(ahead(self._logs.pages(wider)), 1):
            self._turned()
            rows += len(page.rows)
            units.seen(page.rows)
            self._page(page, day, found, seen)
            if number % _PAGES_A_LINE == 0:
                log.info("auditing", day=day.start.isoformat(), rows=rows)
        for receipt in self._books.receipts_of(day.start, day.end):
            if receipt.id.int & _LOW not in seen:
                found.without_row(receipt)
        for unit in units.left:
            found.unit(unit)

    def _page(self, page: Page, day: Window, found: Audit, seen: set[int]) -> None:
        compared = self._judge.judged(page.rows, self._now(), self._grace)
        seen.update(
            one.known.receipt.int & _LOW
            for one in compared
            if one.known is not None and one.known.receipt is not None
        )
        within = [one for one in compared if day.start <= one.row.start < day.end]
        found.add(within, self._books.states(_open(within)) if _open(within) else {})
        found.unreadable(page.odd)


def _open(compared: list[Compared]) -> list[str]:
    return [identifier(one.row.request_id) for one in compared if one.verdict in OPEN]
