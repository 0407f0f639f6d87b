"""Sweeping: holds whose time is over end, those that ended long ago are forgotten."""

from collections.abc import Callable
from contextlib import closing
from threading import Event
from time import monotonic
from typing import Final, Protocol

import structlog

from ledger.healing import LedgerError, heals, kept_waiting
from ledger.holds import Figures
from spend_guard import metrics
from spend_guard.health import Health

_LOG: Final = structlog.get_logger(__name__)
_BATCH: Final = 500
"""Few enough that nobody who asks for a hold of these accounts waits long for their rows."""
_FORGET_EVERY_SECONDS: Final = 600.0


class SweptBooks(Protocol):
    """What is asked of `ledger.holds.Holds`."""

    def expire(self, limit: int) -> int:
        """End holds whose time is over."""

    def forget(self, days: int, limit: int) -> int:
        """Delete holds that ended long ago."""

    def figures(self) -> Figures:
        """Return the figures of all holds."""

    def close(self) -> None:
        """Drop the connection."""


class Sweeper:
    """Sweeps every so many seconds, in a thread of its own, until `stop` is set.

    `failed` gets a failure that does not heal, which is the end.
    """

    def __init__(
        self,
        books: SweptBooks,
        health: Health,
        stop: Event,
        failed: Callable[[LedgerError], None],
        *,
        every_seconds: float,
        keep_days: int,
    ) -> None:
        self._books = books
        self._health = health
        self._stop = stop
        self._failed = failed
        self._every_seconds = every_seconds
        self._keep_days = keep_days
        self._forget_at = 0.0

    def run(self) -> None:
        """Sweep until it is to stop."""
        with closing(self._books):
            while True:
                try:
                    self.sweep()
                except LedgerError as error:
                    metrics.FAULTS.labels("sweeping").inc()
                    if not heals(error):
                        self._failed(error)
                        return
                    self._health.away = not kept_waiting(error)
                    _LOG.error(
                        "sweep_failed", error=type(error).__name__, detail=str(error).strip()[:500]
                    )
                else:
                    self._health.away = False
                self._health.turned()
                if self._stop.wait(self._every_seconds):
                    return

    def sweep(self) -> None:
        """Do it once. Raises `LedgerError`."""
        self._while_full(self._books.expire, metrics.EXPIRED.inc)
        if monotonic() >= self._forget_at:
            self._while_full(
                lambda limit: self._books.forget(self._keep_days, limit), metrics.FORGOTTEN.inc
            )
            self._forget_at = monotonic() + _FORGET_EVERY_SECONDS
        figures = self._books.figures()
        metrics.OPEN.set(figures.open)
        metrics.OLDEST_SECONDS.set(figures.oldest_seconds)
        metrics.BELOW_LIMIT.set(figures.accounts_below_limit)

    def _while_full(self, do: Callable[[int], int], count: Callable[[int], None]) -> None:
        done = _BATCH
        while done == _BATCH and not self._stop.is_set():
            done = do(_BATCH)
            count(done)
            self._health.turned()
