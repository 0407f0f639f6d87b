"""Events of accounts, corrections, checkpoints and runs, told to other teams exactly once.

They wait in PostgreSQL, written with what they tell of. One member of the group publishes them, in
a thread of its own: a Kafka transaction holds some events and the number of the last one, as the
committed offset of a group that has no members. What a crash left open is told by that number: the
broker ends the transaction of whoever published before, and then says what is committed.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import structlog
from confluent_kafka import Consumer, Producer, TopicPartition

from consumer import metrics
from consumer.deadline import within
from ledger.credit_events import Held, Numbered
from ledger.healing import LedgerError
from runtime.kafka import committed
from runtime.logs import OnceAMinute
from schemas import checkpoint, correction, run_total
from schemas import credits as credits_
from schemas.checkpoint import Checkpoint
from schemas.cloud_event import EventRecord
from schemas.correction import Correction
from schemas.credits import CreditEvent
from schemas.run_total import RunTotal

log = structlog.get_logger("consumer")

_PAUSE_SECONDS: Final = 1.0
_LEASE_SECONDS: Final = 30.0
_BATCH: Final = 500
_KAFKA_SECONDS: Final = 10.0
_DEADLINE_SECONDS: Final = 25.0
_FIRST_SECONDS: Final = 0.1
"""How long the events of a transaction go alone, before its offset is sent beside them."""


class Waiting(Protocol):
    """What is asked of `ledger.credit_events.CreditEvents`."""

    def waiting(self) -> tuple[int, float]:
        """Return how many events wait, and for how long, seconds."""
        ...

    def take(self, holder: str, seconds: float) -> Held:
        """Become or stay who publishes."""
        ...

    def batch(self, holder: str, seconds: float, published: int, limit: int) -> list[Numbered]:
        """Forget what is published; return what is next."""
        ...

    def checkpoint(self, seconds: float) -> bool:
        """Make a checkpoint, if there is none of so many seconds; say whether."""
        ...

    def due_runs(self, grace_seconds: float) -> Sequence[str]:
        """Take completed runs that are to be summed up, for a minute."""
        ...

    def sum_up_run(self, run_id: str) -> bool:
        """Have other teams told what a run has cost; False where no event can say it."""
        ...

    def leave(self, holder: str) -> None:
        """Let another process publish."""
        ...

    def close(self) -> None:
        """Drop the connection."""
        ...


class EventTopic:
    """The topics, as the one who writes to them. Made anew after every failure.

    Args:
        config: of the transactional producer; its transactional id is the same in all processes,
            so this fences whoever published before.
        reader: of a client that asks what the group `group.id` has committed.
        topic: the name of the topic of accounts, under which the number is committed.
        receipts: that of the topic of receipts, to which all others go.

    Raises `KafkaException`.
    """

    def __init__(
        self, config: Mapping[str, Any], reader: Mapping[str, Any], topic: str, receipts: str
    ) -> None:
        self._topic = topic
        self._receipts = receipts
        self._producer = Producer(dict(config))
        self._producer.init_transactions(_KAFKA_SECONDS)
        self._reader = Consumer(dict(reader))
        [place] = committed(self._reader, [(topic, 0)], _KAFKA_SECONDS)
        self.published = max(place.offset, 0)
        """The number of the last event that is published, 0 for none."""

    def publish(self, events: Sequence[Numbered]) -> None:
        """Publish events that follow on what is published, all or nothing, in order.

        Raises `KafkaException`: nobody knows then whether they are published, but the next one
        who makes an `EventTopic`.
        """
        producer = self._producer
        producer.begin_transaction()
        for one in events:
            topic, record = self._record(one.event)
            producer.produce(
                topic, value=record.value, key=record.key, headers=dict(record.headers)
            )
            producer.poll(0)
        # As in `publisher.py`: offsets that are sent first wait a tenth of a second for the end of
        # the transaction before.
        producer.flush(_FIRST_SECONDS)
        last = events[-1].sequence
        place = TopicPartition(self._topic, 0, last)
        group = self._reader.consumer_group_metadata()
        producer.send_offsets_to_transaction([place], group, _KAFKA_SECONDS)
        producer.commit_transaction(_KAFKA_SECONDS)
        self.published = last

    def _record(
        self, event: CreditEvent | Correction | Checkpoint | RunTotal
    ) -> tuple[str, EventRecord]:
        match event:
            case Correction():
                return self._receipts, correction.to_kafka(event)
            case Checkpoint():
                return self._receipts, checkpoint.to_kafka(event)
            case RunTotal():
                return self._receipts, run_total.to_kafka(event)
            case CreditEvent():
                return self._topic, credits_.to_kafka(event)

    def close(self) -> None:
        """Drop the clients; a transaction that is open is rolled back by whoever comes next."""
        self._producer.purge()
        self._reader.close()


class CreditEventPublisher:
    """Publishes what waits, every second, until `close`; while another process does, it looks on.

    Args:
        events: where they wait.
        topic: makes the topic's writer.
        holder: the name of this process, as no other has it.
        checkpoint_seconds: the least time from one checkpoint to the next.
        run_grace_seconds: from the end of a run to when its cost is summed up.
    """

    def __init__(
        self,
        events: Waiting,
        topic: Callable[[], EventTopic],
        holder: str,
        checkpoint_seconds: float,
        run_grace_seconds: float,
    ) -> None:
        self._events = events
        self._make = topic
        self._holder = holder
        self._checkpoint_seconds = checkpoint_seconds
        self._run_grace_seconds = run_grace_seconds
        self._asked_at = time.monotonic()
        self._topic: EventTopic | None = None
        self._say = OnceAMinute()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="credit-events", daemon=True)

    def start(self) -> None:
        """Begin to publish."""
        self._thread.start()

    def close(self) -> None:
        """Publish no more. What waits for Kafka or PostgreSQL is left behind."""
        self._end.set()
        self._thread.join(_KAFKA_SECONDS)

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001 - counted and told; receipts do not wait for it
                self._failed(error)
            self._end.wait(_PAUSE_SECONDS)
        try:
            self._events.leave(self._holder)
        except LedgerError as error:
            self._failed(error)
        self._drop()
        self._events.close()

    def turn(self) -> None:
        """Publish all that waits, where it is for this process to do so.

        Raises `KafkaException`, `DeadlineError` and `LedgerError`; the next turn asks anew what is
        published.
        """
        self._checkpoint()
        self._sum_up_runs()
        count, seconds = self._events.waiting()
        metrics.CREDIT_EVENTS_WAITING.set(count)
        metrics.CREDIT_EVENTS_OLDEST_SECONDS.set(seconds)
        held = self._events.take(self._holder, _LEASE_SECONDS) if count else "no"
        if held != "still":
            # Somebody else may have published since this process asked Kafka.
            self._drop()
        try:
            while held != "no" and not self._end.is_set() and self._publish():
                pass
        except Exception:
            self._drop()
            raise

    def _checkpoint(self) -> None:
        """Have a checkpoint made, where it is time as far as this process knows."""
        now = time.monotonic()
        if now - self._asked_at >= self._checkpoint_seconds:
            self._asked_at = now
            if self._events.checkpoint(self._checkpoint_seconds):
                metrics.CHECKPOINTS.inc()

    def _sum_up_runs(self) -> None:
        """Have those runs summed up that are due. One that cannot be is due again in a minute."""
        for run_id in self._events.due_runs(self._run_grace_seconds):
            try:
                told = self._events.sum_up_run(run_id)
            except LedgerError as error:
                if error.sqlstate is None:
                    # No connection: nor is there one for the next run.
                    raise
                self._failed(error)
                continue
            if not told:
                metrics.CREDIT_EVENT_FAULTS.inc()
                log.error("a run has cost more credits than an event can say", run_id=run_id)

    def _publish(self) -> bool:
        """Publish a batch; False where nothing waits."""
        if self._topic is None:
            self._topic = within(_DEADLINE_SECONDS, self._make, "the start of a producer")
        topic = self._topic
        batch = self._events.batch(self._holder, _LEASE_SECONDS, topic.published, _BATCH)
        if not batch:
            return False
        within(_DEADLINE_SECONDS, partial(topic.publish, batch), "the transaction")
        for one in batch:
            metrics.CREDIT_EVENTS.labels(one.kind).inc()
            if isinstance(one.event, RunTotal) and one.event.revision == 1:
                took = time.time() - one.event.completed_at.timestamp()
                metrics.RUN_TOLD_SECONDS.observe(max(took, 0))
        return True

    def _drop(self) -> None:
        topic, self._topic = self._topic, None
        if topic is not None:
            # Whether it ends or is left behind: it is fenced by whoever publishes next.
            threading.Thread(target=topic.close, name="close", daemon=True).start()

    def _failed(self, error: Exception) -> None:
        metrics.CREDIT_EVENT_FAULTS.inc()
        if (times := self._say.now()) is not None:
            detail = str(error).strip()[:300]
            log.warning("credit events are not published", detail=detail, times=times)
