"""The process: pass after pass, while it is the active instance, until SIGTERM."""

import signal
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from threading import Event
from time import monotonic
from types import FrameType
from typing import Final

import structlog

from charging.money import summed
from ledger.counted_receipts import CountedReceipt
from ledger.healing import LedgerError, heals
from ledger.reconciler_lock import ReconcilerLock
from reconciler import metrics
from reconciler.answers import SpendLogError
from reconciler.audit import Audit
from reconciler.gateway import GatewayError
from reconciler.health import Health
from reconciler.parts import Parts, now, parts
from reconciler.prices.table import load
from reconciler.prices.tripwire import USUAL, Line, Tripwire, Verdict
from reconciler.printing import told_of, verdict_of
from reconciler.settings import Settings
from runtime import VERSION
from runtime.backoff import BackOff
from runtime.probes import Probes

log = structlog.get_logger("reconciler")

_STANDBY_SECONDS: Final = 5.0
_FIRST_PAUSE_SECONDS: Final = 1.0
_SLICE_SECONDS: Final = 5.0
_DAY: Final = timedelta(days=1)
_ITEMS: Final = 100
_OF_PRICES: Final = ("receipts", "off", "said_usd", "least_usd", "most_usd", "off_usd", "example")


class StoppedError(Exception):
    """The process is to stop; what was finished stands."""


class Service:
    """Runs a reconciler; `stop` is set when it is to end."""

    def __init__(self, settings: Settings, health: Health, stop: Event) -> None:
        self._settings = settings
        self._health = health
        self._stop = stop
        url = settings.database_url.get_secret_value()
        self._lock = ReconcilerLock(url, settings.source_system)
        longest = settings.reconciler_retry_max_ms / 1_000
        self._back_off = BackOff(_FIRST_PAUSE_SECONDS, longest)
        self._audited: datetime | None = None

    def run(self) -> None:
        """Run until it is to stop. Raises a `LedgerError` that does not heal."""
        failures = 0
        try:
            with parts(
                self._settings, wait=self.wait, turned=self._turned, held=self._lock.check
            ) as made:
                while True:
                    failures = self._turn(made, failures)
        except StoppedError:
            log.info("reconciler stopped")
        finally:
            self._lock.release()

    def _turn(self, made: Parts, failures: int) -> int:
        """Make one pass and wait for the next; return how many have failed in a row."""
        try:
            if not self._active():
                self.wait(_STANDBY_SECONDS)
                return 0
            self._pass(made)
            self._audit(made)
        except (SpendLogError, GatewayError, LedgerError) as error:
            if isinstance(error, LedgerError) and not heals(error):
                raise
            failures += 1
            self._failed(error, failures)
            self.wait(self._back_off.pause(failures))
            return failures
        self._health.missing = None
        metrics.FAILURES_IN_A_ROW.set(0)
        self.wait(self._settings.reconciler_interval_s)
        return 0

    def _active(self) -> bool:
        got = self._lock.acquire()
        metrics.ACTIVE.set(got)
        if got:
            self._lock.check()
        else:
            self._health.missing = None
            log.info("another instance is the active one: standing by")
        return got

    def _pass(self, made: Parts) -> None:
        began = monotonic()
        outcome = made.passes.make()
        metrics.PASS_SECONDS.observe(monotonic() - began)
        told = told_of(outcome)
        told["unmatched_units"] = len(outcome.units)
        log.info("compared", **{name: _text(value) for name, value in told.items()})

    def _audit(self, made: Parts) -> None:
        """Audit the day that has ended, once, when its late rows and receipts are there."""
        if not self._settings.reconciler_daily_audit:
            return
        overlap = timedelta(seconds=self._settings.reconciler_overlap_s)
        end = (now() - overlap).replace(hour=0, minute=0, second=0, microsecond=0)
        if self._audited == end:
            return
        found = made.auditor.audit(end - _DAY, end, _ITEMS)
        measure(found, end)
        if self._settings.reconciler_daily_prices:
            self._prices(made, (end - _DAY).date())
        self._audited = end
        told = {"day": (end - _DAY).date().isoformat(), "faults": found.faults}
        (log.info if found.balanced else log.error)(verdict_of(found), **told)

    def _prices(self, made: Parts, day: date) -> None:
        """Compute the receipts of a day again, for the metrics alone."""
        tripwire = Tripwire(load(), USUAL)
        tripwire.add(self._each(made.books.counted_receipts(day)))
        lines = tripwire.lines()
        measure_prices(lines)
        for line in lines:
            if line.verdict is Verdict.DRIFTS:
                log.warning(
                    "costs are not those of the price table",
                    day=day.isoformat(),
                    model=line.model,
                    **{name: _text(getattr(line, name)) for name in _OF_PRICES},
                )

    def _each(self, receipts: Iterator[CountedReceipt]) -> Iterator[CountedReceipt]:
        for receipt in receipts:
            self._turned()
            yield receipt

    def _failed(self, error: Exception, failures: int) -> None:
        metrics.FAILURES_IN_A_ROW.set(failures)
        match error:
            case SpendLogError():
                self._health.missing = "litellm"
            case GatewayError():
                self._health.missing = "gateway"
            case _:
                self._health.missing = "postgresql"
        log.error(
            "the pass failed and is made again",
            dependency=self._health.missing,
            failures=failures,
            error=type(error).__name__,
            detail=str(error).strip()[:500],
        )

    def _turned(self) -> None:
        self._health.turned()
        if self._stop.is_set():
            raise StoppedError

    def wait(self, seconds: float) -> None:
        """Wait so long. Raises `StoppedError` when the process is to stop; for any thread."""
        until = monotonic() + seconds
        while True:
            self._health.turned()
            left = until - monotonic()
            if self._stop.wait(min(max(left, 0.0), _SLICE_SECONDS)):
                raise StoppedError
            if left <= 0:
                return


def measure(found: Audit, end: datetime) -> None:
    """Set the metrics of the last audit."""
    lines = found.lines
    for line in lines:
        metrics.AUDIT_CALLS.labels(line.what).set(line.calls)
    total = next(line for line in lines if line.what == "LiteLLM log rows")
    metrics.AUDIT_DIFFERENCE_USD.set(float(total.difference_usd))
    metrics.AUDITED_UNTIL_SECONDS.set(end.timestamp())
    metrics.AUDIT_BALANCED.set(found.balanced)


def measure_prices(lines: Sequence[Line]) -> None:
    """Set the metrics of the receipts that were computed again."""
    known = [line for line in lines if line.verdict is not Verdict.UNKNOWN]
    unknown = [line for line in lines if line.verdict is Verdict.UNKNOWN]
    metrics.PRICED_USD.set(float(summed(line.said_usd for line in known)))
    metrics.PRICE_DRIFT_USD.set(float(summed(line.off_usd for line in known)))
    metrics.UNPRICED_USD.set(float(summed(line.said_usd for line in unknown)))


def _text(value: object) -> object:
    return value if isinstance(value, int | dict) else str(value)


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. Raises `LedgerError` and `OSError` where it cannot begin."""
    stop = Event()

    def stopping(number: int, _: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stop.set()

    signal.signal(signal.SIGTERM, stopping)
    signal.signal(signal.SIGINT, stopping)
    health = Health(settings.reconciler_stalled_after_s)
    host, port = settings.reconciler_metrics_host, settings.reconciler_metrics_port
    probes = Probes(host, port, health.live, health.ready)
    log.info(
        "reconciler started",
        version=VERSION,
        source=settings.source_system,
        probes=f"{host}:{probes.server_port}",
    )
    try:
        Service(settings, health, stop).run()
    finally:
        probes.shutdown()
