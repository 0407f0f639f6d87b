"""Placement: each assigned partition is read from somewhere, and what was read is in the ledger."""

import itertools
import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TypeVar

import structlog
from confluent_kafka import Consumer, KafkaException

from consumer.asking import RevokedError
from consumer.assignment import Assignment
from consumer.continuity import Continuity
from consumer.health import Health
from consumer.start import Place
from consumer.waiting import Waiting
from consumer.worker import Worker
from ledger.gap import Gap, LedgerBehindError
from ledger.healing import LedgerError, heals
from runtime.metrics import RETRIES

log = structlog.get_logger("consumer")

_Answer = TypeVar("_Answer")


class Placement:
    """What comes before a batch. Not safe for threads.

    Args:
        consumer: the group's member.
        assignment: which partitions it has.
        continuity: finds and closes gaps of the ledger.
        health: told what is missing meanwhile.
        stop: set when the loop is to stop.
        worker: asks the ledger and Kafka and closes gaps, while the loop goes on polling.
        waiting: waits out a failure that may heal.
    """

    def __init__(
        self,
        consumer: Consumer,
        assignment: Assignment,
        continuity: Continuity,
        health: Health,
        *,
        stop: threading.Event,
        worker: Worker,
        waiting: Waiting,
    ) -> None:
        self._consumer = consumer
        self._assignment = assignment
        self._continuity = continuity
        self._health = health
        self._stop = stop
        self._worker = worker
        self._waiting = waiting

    def ensure(self, in_hand: Collection[Place]) -> bool:
        """Return true when it is so, false when the loop is to stop.

        Of partitions that have records `in_hand` nothing is changed but the ledger. Partitions may
        come and leave meanwhile. Raises what does not heal.
        """
        for attempt in itertools.count(1):
            try:
                if self._try(in_hand):
                    return True
            except RevokedError:
                log.info("partitions were taken away while something was asked")
            except (KafkaException, LedgerError) as error:
                if isinstance(error, LedgerError) and not heals(error):
                    raise
                away = "kafka" if isinstance(error, KafkaException) else "postgresql"
                self._waiting.out(away, error, attempt)
            if self._stop.is_set():
                return False
        raise AssertionError

    def _try(self, in_hand: Collection[Place]) -> bool:
        """Do the next thing; whether there is none left."""
        self._assignment.place(self._consumer, self.ask)
        if gaps := self._continuity.gaps(set(self._assignment.places), self.ask):
            self._close(gaps)
        elif not self._continuity.doubts:
            self._assignment.position(self._consumer, self.ask, in_hand)
            # Partitions may have come while that was asked.
            return not self._continuity.doubts
        return False

    def interrupt(self) -> None:
        """Have the closing of gaps end: whoever holds the partitions next goes on with it."""
        self._continuity.interrupt()

    def ask(self, work: Callable[[], _Answer], whom: str = "postgresql", /) -> _Answer:
        """Have something asked while the loop goes on polling; `whom` is missing where that hangs.

        Raises what the work raises, and `RevokedError` where partitions were taken away meanwhile.
        """
        revocations = self._assignment.revocations
        answer = self._worker.ask(work, whom)
        if revocations != self._assignment.revocations:
            raise RevokedError
        return answer

    def _close(self, gaps: Sequence[Gap]) -> None:
        """Have gaps closed, still polling so that the group keeps this member."""
        self._health.missing = "ledger"
        self._continuity.resume()
        closing = self._worker.begin(partial(self._continuity.close, gaps))
        try:
            self._worker.end_of(closing, self._continuity.waits_for)
        except LedgerBehindError as error:
            # Put back once more while it was repaired: what it lacks is asked for again.
            RETRIES.labels("postgresql").inc()
            log.warning("the ledger was put back during its repair", detail=str(error))
        self._health.missing = None
