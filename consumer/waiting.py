"""Waiting: for a failure to heal, and for a batch that hangs. The loop turns meanwhile."""

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import structlog
from confluent_kafka import KafkaException

from consumer.health import Health
from consumer.outside import Work
from consumer.reading import Reader
from ledger.healing import LedgerError, answered
from ledger.receipts import ReceiptWriter
from runtime.backoff import BackOff
from runtime.metrics import RETRIES

log = structlog.get_logger("consumer")

_Made = TypeVar("_Made")
_FIRST_PAUSE_SECONDS: Final = 0.2
_TURN_SECONDS: Final = 0.1
_QUIET_SECONDS: Final = 2.0
"""How long a batch may take before the loop goes on polling beside it."""
_HANGS_SECONDS: Final = 5.0
"""How long before it is said what it waits for."""
_SAID_EVERY_SECONDS: Final = 60.0
_STOPPING_SECONDS: Final = 10.0
"""How long a batch that hangs keeps a loop that is to stop."""
_REVOKED_SECONDS: Final = 10.0
"""How long batches keep partitions that the group wants to give to somebody else."""


def reach(ledger: ReceiptWriter) -> None:
    """Raise a `LedgerError` where no server answers at all, or with what does not heal."""
    try:
        ledger.ping()
    except LedgerError as error:
        if not answered(error):
            raise


def first_answer(
    ledger: ReceiptWriter, health: Health, stop: threading.Event, longest_pause_seconds: float
) -> bool:
    """Wait until the ledger answers for the first time; False where the process is to stop first.

    Raises a `LedgerError` where no server answers at all, or with what does not heal.
    """
    for attempt in itertools.count(1):
        try:
            ledger.ping()
        except LedgerError as error:
            if not answered(error):
                raise
            pause = BackOff(_FIRST_PAUSE_SECONDS, longest_pause_seconds).pause(attempt)
            health.missing = "postgresql"
            _tell("the database is not ready", "postgresql", error, attempt, pause)
        else:
            health.missing = None
            return True
        if _stopped_within(pause, health, stop):
            return False
    raise AssertionError


def first_clients(
    make: Callable[[], _Made],
    answers: Callable[[], bool],
    health: Health,
    stop: threading.Event,
    longest_pause_seconds: float,
) -> _Made | None:
    """Return what `make` makes, as soon as the brokers let it; None where the process is to stop.

    They refuse for a moment while a coordinator begins. Raises the `KafkaException` of `make` where
    waiting does not help, or no broker `answers` at all: at the start the address may be wrong.
    """
    for attempt in itertools.count(1):
        try:
            made = make()
        except KafkaException as error:
            if not (error.args[0].retriable() and answers()):
                raise
            pause = BackOff(_FIRST_PAUSE_SECONDS, longest_pause_seconds).pause(attempt)
            health.missing = "kafka"
            _tell("the brokers are not ready", "kafka", error, attempt, pause)
        else:
            health.missing = None
            return made
        if _stopped_within(pause, health, stop):
            return None
    raise AssertionError


def _stopped_within(seconds: float, health: Health, stop: threading.Event) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        health.turned()
        if stop.wait(_TURN_SECONDS):
            return True
    return False


def _tell(
    event: str, dependency: str, error: Exception, attempt: int, pause_seconds: float
) -> None:
    RETRIES.labels(dependency).inc()
    log.warning(
        event,
        dependency=dependency,
        attempt=attempt,
        pause_seconds=round(pause_seconds, 2),
        error=type(error).__name__,
        sqlstate=getattr(error, "sqlstate", None),
        detail=str(error).strip()[:300],
    )


class Waiting:
    """The loop's patience. Not safe for threads.

    Args:
        reader: polls without reading.
        health: told that the loop turns, and what is missing.
        stop: set when the loop is to stop.
        longest_pause_seconds: between two tries.
        now: a clock, seconds.
    """

    def __init__(
        self,
        reader: Reader,
        health: Health,
        stop: threading.Event,
        longest_pause_seconds: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._reader = reader
        self._health = health
        self._stop = stop
        self._back_off = BackOff(_FIRST_PAUSE_SECONDS, longest_pause_seconds)
        self._hanging: Work[Any] | None = None
        """What has not ended for so long that nobody waits for it."""

    @property
    def to_stop(self) -> bool:
        """Whether the loop is to stop."""
        return self._stop.is_set()

    def out(self, dependency: str, error: Exception, attempt: int) -> None:
        """Wait out a failure that may heal; `attempt` says how often it came, from 1."""
        pause = self._back_off.pause(attempt)
        self._health.missing = dependency
        _tell("batch will be tried again", dependency, error, attempt, pause)
        until = self._now() + pause
        while self._now() < until and not self._stop.is_set():
            self._health.turned()
            self._reader.idle()
        self._reader.resume()

    def for_end_of(
        self, work: Work[Any], waits_for: Callable[[], str], give_up: Callable[[], None]
    ) -> None:
        """Wait until `work` has ended, in whatever way.

        A commit may hang for as long as a synchronous standby is away. After some seconds the loop
        turns and polls beside it, and `waits_for` is missing. `give_up` makes it fail; that is
        called only when the loop is to stop.
        """
        if work.wait(_QUIET_SECONDS):
            return
        began, said_at, stopping_at = self._now(), -math.inf, 0.0
        while not work.done():
            self._health.turned()
            self._reader.idle()
            now = self._now()
            if now - began > _HANGS_SECONDS - _QUIET_SECONDS:
                self._hanging = work
                self._health.missing = waits_for()
                if now - said_at > _SAID_EVERY_SECONDS:
                    said_at = now
                    log.warning("waits for an answer", dependency=self._health.missing)
            if self._stop.is_set():
                stopping_at = stopping_at or now
                if now - stopping_at > _STOPPING_SECONDS:
                    give_up()
                    work.wait()
        self._hanging = None
        self._reader.resume()

    def before_revocation(self, works: Iterable[Work[Any]]) -> None:
        """Wait for `works`, one after the other, and not for long in all.

        Afterwards the group refuses what they have not committed.
        """
        self._health.turned()
        until = self._now() + _REVOKED_SECONDS
        for work in works:
            if self._hangs() or not work.wait(max(until - self._now(), 0.0)):
                return

    def _hangs(self) -> bool:
        """Whether it hangs still: the loop may be told of a revocation before it sees the end."""
        return self._hanging is not None and not self._hanging.done()
