"""Reconciling: the rows of a window, page by page; lost calls are posted and written down.

ONE_BILLING_PATH: a lost call becomes a callback like any other. Posting one again does no harm, so
whatever is interrupted is done once more.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

import structlog

from ledger.reconciliation import KnownCall, Reconciliation
from reconciler import metrics
from reconciler.comparison import Compared, Verdict
from reconciler.findings import ANSWERED, OPEN, UNREADABLE, finding_of, unreadable
from reconciler.gateway import Gateway
from reconciler.judging import Judge
from reconciler.reposting import callback_of
from reconciler.spend_logs import Page, SpendLogs, Window, ahead
from reconciler.units import UnmatchedUnits
from schemas.text import identifier

log = structlog.get_logger("reconciler")

_FINDINGS: Final = 1_000
_PAGES_A_LINE: Final = 20
"""How many pages are read between two lines of progress."""


@dataclass
class Tally:
    """What came of rows: how many of each verdict, and what was done about them."""

    verdicts: Counter[str] = field(default_factory=Counter)
    missing_usd: Decimal = Decimal(0)
    reposted: int = 0
    waiting: int = 0
    parked: int = 0
    closed: int = 0

    @property
    def rows(self) -> int:
        """All rows, also those that cannot be read."""
        return self.verdicts.total()

    def add(self, other: "Tally") -> None:
        """Count another one's rows to these."""
        self.verdicts.update(other.verdicts)
        self.missing_usd += other.missing_usd
        self.reposted += other.reposted
        self.waiting += other.waiting
        self.parked += other.parked
        self.closed += other.closed


class Reconciler:
    """Reconciles windows of one proxy's spend log. Not safe for threads.

    `now` is the time as the proxy has it. `turned` is called after each step; it may raise to stop.
    """

    def __init__(
        self,
        logs: SpendLogs,
        books: Reconciliation,
        judge: Judge,
        gateway: Gateway,
        *,
        grace: timedelta,
        now: Callable[[], datetime],
        turned: Callable[[], None] = lambda: None,
    ) -> None:
        self._logs = logs
        self._books = books
        self._judge = judge
        self._gateway = gateway
        self._grace = grace
        self._now = now
        self._turned = turned

    def window(self, window: Window, units: UnmatchedUnits | None = None) -> Tally:
        """Compare the rows of a window; on return each lost call was taken by the gateway.

        Units of calls that have a row are taken out of `units`. Raises `SpendLogError`,
        `GatewayError` and `LedgerError`; what was done before stands.
        """
        tally = Tally()
        for number, page in enumerate(ahead(self._logs.pages(window)), 1):
            self._turned()
            if units is not None:
                units.seen(page.rows)
            tally.add(self.page(page, self._grace))
            if number % _PAGES_A_LINE == 0:
                log.info("comparing", rows=tally.rows, at=_at(page), reposted=tally.reposted)
        return tally

    def run(self, end_user: str, window: Window) -> Tally:
        """Compare the rows of one run's end user, and post what is lost without any grace."""
        tally = Tally()
        for page in self._logs.pages(window, end_user):
            self._turned()
            tally.add(self.page(page, timedelta(0)))
        return tally

    def page(self, page: Page, grace: timedelta) -> Tally:
        """Compare the rows of a page, write down what has no answer, and post what is lost."""
        now = self._now()
        compared = self._judge.judged(page.rows, now, grace)
        tally = Tally(Counter(one.verdict.value for one in compared))
        if page.odd:
            tally.verdicts[UNREADABLE] += len(page.odd)
        for verdict, rows in tally.verdicts.items():
            metrics.CHECKED.labels(verdict).inc(rows)
        findings = [finding_of(one) for one in compared if one.verdict in OPEN]
        findings += [found for odd in page.odd if (found := unreadable(odd))]
        # A primary key of LiteLLM's may be one for us when it is cut to its bounds.
        states = self._books.note(list({one.request_id: one for one in findings}.values()))
        missing = [one for one in compared if one.verdict is Verdict.MISSING]
        tally.missing_usd = sum((one.row.spend or Decimal(0) for one in missing), Decimal(0))
        priced = [one for one in compared if one.verdict is Verdict.PRICED]
        due = []
        for one in (*missing, *priced):
            state = states.get(identifier(one.row.request_id))
            if state and (state.closed_at or _waits(state.reposted_at, now, self._grace)):
                tally.waiting += 1
            else:
                due.append(one)
        self._post(due, tally)
        answered = [one for one in compared if one.verdict in ANSWERED]
        tally.closed = self._close(answered)
        return tally

    def _post(self, due: Sequence[Compared], tally: Tally) -> None:
        if not due:
            return
        taken = self._gateway.post([callback_of(one.row) for one in due])
        self._books.reposted([identifier(one.row.request_id) for one in due])
        tally.reposted, tally.parked = taken.callbacks, taken.parked
        metrics.REPOSTED.inc(taken.callbacks)
        metrics.PARKED.inc(taken.parked)

    def _close(self, answered: Iterable[Compared]) -> int:
        told = {
            identifier(one.row.request_id): one.known.billed if one.known else None
            for one in answered
        }
        closed = self._books.close_findings(told) if told else 0
        metrics.CLOSED.inc(closed)
        return closed

    def recheck(self) -> int:
        """Close the lost calls that have their receipt or deferral now; return how many.

        And those that waited for their cost and have a receipt.

        Tells how long their runs have waited for the last of it. Raises `LedgerError`.
        """
        closed, after = 0, ""
        while found := self._books.open_findings(after, _FINDINGS):
            self._turned()
            after = found[-1].request_id
            keys = {one.call_key: one for one in found if one.call_key}
            known = {one.call_key: one for one in self._books.known(list(keys))}
            answered = {
                one.request_id: known[key].cost
                for key, one in keys.items()
                if key in known and (one.verdict != Verdict.PRICED or known[key].receipt)
            }
            if answered:
                closed += self._books.close_findings(answered)
                for seconds in latencies(known.values()):
                    metrics.LATENCY_SECONDS.observe(seconds)
        metrics.CLOSED.inc(closed)
        return closed

    def unmatched_units(self, start: datetime, until: datetime, limit: int) -> UnmatchedUnits:
        """Return the units of a time of which the books know nothing."""
        return UnmatchedUnits(self._books.unmatched_units(limit, start=start, until=until))


def latencies(calls: Iterable[KnownCall]) -> list[float]:
    """Return of each run how long after its end its last receipt was written, seconds."""
    ended: dict[str, datetime] = {}
    written: dict[str, datetime] = {}
    for call in calls:
        run = call.run_id
        ended[run] = max(ended.get(run, call.occurred_at), call.occurred_at)
        written[run] = max(written.get(run, call.written_at), call.written_at)
    return [max(0.0, (written[run] - ended[run]).total_seconds()) for run in ended]


def _waits(reposted_at: datetime | None, now: datetime, grace: timedelta) -> bool:
    """Say whether a call that was posted may still get its receipt from that."""
    return reposted_at is not None and now - reposted_at < grace


def _at(page: Page) -> str | None:
    return page.rows[-1].start.isoformat() if page.rows else None
