"""A pass: from the cursor, and an overlap before it, to what is old enough; window by window.

The cursor moves behind a window when every lost call of it was taken by the gateway, so that a
restart goes on where it was.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import msgspec
import structlog

from ledger.reconciliation import Reconciliation
from reconciler import metrics
from reconciler.reconciling import Reconciler, Tally
from reconciler.spend_logs import windows
from reconciler.units import Unit, UnmatchedUnits

log = structlog.get_logger("reconciler")

_MOST_UNITS: Final = 10_000
_LISTED: Final = 20


class Durations(msgspec.Struct, frozen=True):
    """What a pass goes by: the grace, the overlap, the first look back, and a window's length."""

    grace: timedelta
    overlap: timedelta
    look_back: timedelta
    window: timedelta


class Outcome(msgspec.Struct, frozen=True):
    """What a pass has come to: `until` is where the cursor is, `units` are without an answer."""

    tally: Tally
    since: datetime
    until: datetime
    units: list[Unit]


class Passes:
    """Makes passes. `held` raises where this process is the active one no longer."""

    def __init__(
        self,
        reconciler: Reconciler,
        books: Reconciliation,
        durations: Durations,
        *,
        now: Callable[[], datetime],
        held: Callable[[], None] = lambda: None,
    ) -> None:
        self._reconciler = reconciler
        self._books = books
        self._durations = durations
        self._now = now
        self._held = held
        self._units_until: datetime | None = None

    def make(self) -> Outcome:
        """Make a pass. Raises `SpendLogError`, `GatewayError` and `LedgerError`.

        What was finished before stands, and the cursor is behind it.
        """
        durations, tally = self._durations, Tally()
        until = self._now() - durations.grace
        cursor = self._books.cursor() or until - durations.look_back
        since = cursor - durations.overlap
        tally.closed += self._reconciler.recheck()
        units = self._units(cursor, until)
        for window in windows(since, until, durations.window):
            self._held()
            tally.add(self._reconciler.window(window, units))
            if window.end > cursor:
                self._held()
                self._books.move(window.end)
                metrics.RECONCILED_UNTIL_SECONDS.set(window.end.timestamp())
        left = self._told(units, until)
        self._count()
        return Outcome(tally, since, max(until, cursor), left)

    def of(self, start: datetime, end: datetime) -> Outcome:
        """Compare a time that was asked for; the cursor stays where it is. Raises as `make`."""
        tally = Tally(closed=self._reconciler.recheck())
        units = self._reconciler.unmatched_units(start, end, _MOST_UNITS)
        for window in windows(start, end, self._durations.window):
            tally.add(self._reconciler.window(window, units))
        self._count()
        return Outcome(tally, start, end, units.left)

    def _units(self, cursor: datetime, until: datetime) -> UnmatchedUnits | None:
        """Return units of a time whose rows this pass reads; None where it is too soon for that.

        No index has them by time, so they are asked for once in a time of grace only.
        """
        since = self._units_until or cursor
        if until - since < self._durations.grace:
            return None
        # Calls that began within the overlap have their rows read by this pass.
        return self._reconciler.unmatched_units(
            max(since, cursor - self._durations.overlap), until, _MOST_UNITS
        )

    def _told(self, units: UnmatchedUnits | None, until: datetime) -> list[Unit]:
        if units is None:
            return []
        self._units_until = until
        left = units.left
        metrics.UNMATCHED_UNITS.set(len(left))
        if left:
            log.warning(
                "usage units without a receipt, a deferral or a row",
                units=len(left),
                first=[str(unit["unit_id"]) for unit in left[:_LISTED]],
            )
        return left

    def _count(self) -> None:
        metrics.OPEN_FINDINGS.clear()
        metrics.OLDEST_FINDING_SECONDS.clear()
        metrics.MISSING.set(0)
        for one in self._books.open_counts():
            metrics.OPEN_FINDINGS.labels(one.verdict).set(one.findings)
            metrics.OLDEST_FINDING_SECONDS.labels(one.verdict).set(one.oldest_seconds)
            if one.verdict == "missing":
                metrics.MISSING.set(one.findings)
