"""Placement: each assigned partition is read from somewhere, and what was read is in the ledger."""

import itertools
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import Consumer, KafkaException
from psycopg import OperationalError

from consumer.assignment import Assignment
from consumer.continuity import Continuity
from consumer.gap import Gap
from consumer.health import Health
from consumer.offsets import Place


class Placement:
    """What comes before a batch. Not safe for threads.

    Args:
        consumer: the group's member.
        assignment: which partitions it has.
        continuity: finds and closes gaps of the ledger.
        health: told what is missing meanwhile.
        stop: set when the loop is to stop.
        worker: closes gaps, while the loop goes on polling.
        wait: waits out a failure that may heal, told the dependency, the error and which one it is.
        idle: polls once without reading on.
        resume: has the partitions read on afterwards.
    """

    def __init__(
        self,
        consumer: Consumer,
        assignment: Assignment,
        continuity: Continuity,
        health: Health,
        *,
        stop: threading.Event,
        worker: ThreadPoolExecutor,
        wait: Callable[[str, Exception, int], None],
        idle: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        self._consumer = consumer
        self._assignment = assignment
        self._continuity = continuity
        self._health = health
        self._stop = stop
        self._worker = worker
        self._wait = wait
        self._idle = idle
        self._resume = resume

    def ensure(self, in_hand: Collection[Place]) -> None:
        """Return when it is so, or when the loop is to stop.

        Of partitions that have records `in_hand` nothing is changed but the ledger.
        """
        for attempt in itertools.count(1):
            try:
                self._assignment.place(self._consumer)
                if gaps := self._continuity.gaps(self._assignment.places):
                    self._close(gaps)
                else:
                    return self._assignment.position(self._consumer, in_hand)
            except (KafkaException, OperationalError) as error:
                away = "kafka" if isinstance(error, KafkaException) else "postgresql"
                self._wait(away, error, attempt)
            if self._stop.is_set():
                return None
        raise AssertionError

    def revoked(self) -> None:
        """Have the closing of gaps end: whoever holds the partitions next goes on with it."""
        self._continuity.interrupt()

    def _close(self, gaps: Sequence[Gap]) -> None:
        """Have gaps closed, still polling so that the group keeps this member."""
        self._health.missing = "ledger"
        self._continuity.resume()
        closing = self._worker.submit(self._continuity.close, gaps)
        while not closing.done():
            if self._stop.is_set():
                self._continuity.interrupt()
            self._idle()
        self._resume()
        closing.result()
        self._health.missing = None
