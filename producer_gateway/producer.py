"""The store in front of Kafka: an idempotent producer, bridged to asyncio."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from producer_gateway.delivery import Deliveries, Delivery
from producer_gateway.metrics import Metrics
from producer_gateway.settings import Settings
from producer_gateway.store import NotStoredError, Record, Stored
from schemas.topics import Topics

_LOG: Final = structlog.get_logger(__name__)
_POLL_S: Final = 0.001
_IDLE_POLL_S: Final = 0.1
_METADATA_TIMEOUT_S: Final = 2.0
"""Also what a stop may have to wait for."""
_GRACE_MS: Final = 5_000
"""librdkafka gives a record up so much later than we do. It drops records one by one, and sending
a later one of the run after that would change their order; `abandon` drops them all together."""
_RETIRE_S: Final = 10.0
_RENEW_S: Final = 1.0
"""A new producer at most so often: some fatal errors, such as a missing right, return at once."""
_DOUBT_S: Final = 5.0
"""For so long after a fatal error the producer is not trusted to work."""
_ENQUEUE_IN_THREAD: Final = 2_000
"""From so many records on, handing them over takes long enough to be felt by other requests."""
REFUSED: Final = frozenset({
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError.INVALID_RECORD,
})  # fmt: skip
"""Kafka refuses the record itself: it will do so again, and says nothing about the others."""


class KafkaStore:
    """Produces with `acks=all` and idempotence; done when every delivery report is good.

    A producer with a fatal error never produces again: it is replaced. Must be created in a
    running event loop. Raises `KafkaException` where the configuration is wrong.
    """

    def __init__(self, settings: Settings, topics: Topics, metrics: Metrics) -> None:
        self._loop = asyncio.get_running_loop()
        self._fatal = metrics.producer_fatal
        self.on_away: Callable[[str], None] | None = None
        """Called, in the event loop, when no broker can be reached any more."""
        self.trouble: str | None = None
        """What the client said last about its connections, such as a refused login."""
        self._lost = float("-inf"), ""
        self._renewal: asyncio.TimerHandle | None = None
        self._names = frozenset(
            topic.name for topic in (topics.callbacks, topics.dead_letters, topics.usage_units)
        )
        self._configuration = _configuration(settings, topics)
        self._generation = 0
        self._producer = self._connect()
        self._deliveries = Deliveries(settings.delivery_timeout_ms / 1000)
        self._missing: frozenset[str] | None = None
        self._polling = self._loop.call_soon(self._poll)
        self._hurried = False

    def _connect(self) -> Producer:
        self._connected_at = self._loop.time()
        return Producer(
            {**self._configuration, "error_cb": partial(self._on_error, self._generation)},
            logger=logging.getLogger("librdkafka"),
        )

    @property
    def topics(self) -> frozenset[str]:
        """The topics that may be produced to."""
        return self._names

    async def store(self, records: Sequence[Record]) -> Stored:
        """Produce `records` and wait for every delivery report.

        Raises `NotStoredError`, with reason `refused` where Kafka refuses a record as such.
        """
        if not records:
            return Stored(0, 0)
        self._refuse_without_topics()
        delivery = self._deliveries.begin(len(records))
        if not self._hurried:
            self._poll_in(_POLL_S)
        try:
            if len(records) < _ENQUEUE_IN_THREAD:
                self._enqueue(records, delivery)
            else:
                await asyncio.to_thread(self._enqueue, records, delivery)
            error = await delivery.future
        finally:
            self._deliveries.forget(delivery)
        if delivery.late:
            raise NotStoredError("timeout", "no delivery report in time")
        if delivery.abandoned:
            raise NotStoredError("abandoned", "the broker went away meanwhile")
        if error is not None:
            raise _not_stored(error, "delivery_failed")
        return Stored(len(records), 0)

    def lost(self) -> str | None:
        """Return the fatal error of a moment ago; None where there was none."""
        at, detail = self._lost
        return detail if self._loop.time() < at + _DOUBT_S else None

    def _refuse_without_topics(self) -> None:
        if self._renewal is not None:
            raise NotStoredError("no_producer", "the producer was given up and is being replaced")
        # Producing to a topic that is not there would make a broker with auto-creation make it,
        # with one partition and a week's retention.
        if self._missing is None:
            raise NotStoredError("broker_unreachable", "the broker has not answered yet")
        if self._missing:
            raise NotStoredError("topics_missing", f"missing: {', '.join(sorted(self._missing))}")

    def _enqueue(self, records: Sequence[Record], delivery: Delivery) -> None:
        produce, report = self._producer.produce, delivery.report
        try:
            for topic, key, value, headers in records:
                if delivery.abandoned:
                    return
                produce(topic, value, key, on_delivery=report, headers=headers)  # type: ignore[arg-type]
        except BufferError as error:
            raise NotStoredError("queue_full", "the producer's queue is full") from error
        except KafkaException as error:
            raise _not_stored(error.args[0], "produce_failed") from error

    def _poll(self) -> None:
        """Take delivery reports and errors, now and again.

        In the event loop: a thread would have to be given the interpreter for each report.
        """
        self._poll_in(_POLL_S if self._deliveries else _IDLE_POLL_S)
        producer = self._producer
        try:
            producer.poll(0)
        except KafkaException as error:
            # The client tells fatal errors this way, and not to `error_cb`.
            self._fatal.inc()
            self._replace_lost(producer, error.args[0].str())
        self._deliveries.end_late()

    def _poll_in(self, seconds: float) -> None:
        self._polling.cancel()
        self._polling = self._loop.call_later(seconds, self._poll)
        self._hurried = seconds == _POLL_S

    def _on_error(self, generation: int, error: KafkaError) -> None:
        if generation != self._generation:
            return
        _LOG.warning("kafka_error", code=error.name(), detail=error.str())
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - librdkafka's own name
            self.trouble = error.str()
        elif self.on_away is not None:
            # Not from within `poll`: it may purge what is being reported.
            self._loop.call_soon(self.on_away, error.str())

    def _replace_lost(self, producer: Producer, detail: str) -> None:
        _LOG.error("producer_lost", detail=detail)
        if producer is not self._producer:
            return
        self._lost = self._loop.time(), detail
        if self.on_away is not None:
            self.on_away(f"fatal: {detail}")
        if producer is self._producer:
            self._replace()

    def abandon(self) -> None:
        """Give up on everything that was handed over and not acknowledged; nothing of it is sent.

        What the broker has received may still be written: a prefix, in order. The waiting calls
        of `store` fail at once with reason `abandoned`. A purged idempotent producer would go on
        with a gap in its sequence, so the next records get a producer of their own.
        """
        if self._deliveries or len(self._producer):
            self._replace()

    def _replace(self) -> None:
        for delivery in self._deliveries:
            delivery.abandoned = True
            delivery.end()
        if self._renewal is not None:
            return
        self._generation += 1
        self._producer.purge()
        wait = self._connected_at + _RENEW_S - self._loop.time()
        self._renewal = self._loop.call_later(max(0.0, wait), self._renew)

    def _renew(self) -> None:
        self._renewal = None
        try:
            renewed = self._connect()
        except KafkaException as error:
            # A certificate's file may be gone for a moment while it is being exchanged.
            _LOG.error("no_producer", detail=str(error))
            self._renewal = self._loop.call_later(_RENEW_S, self._renew)
            return
        retired, self._producer = self._producer, renewed
        threading.Thread(target=_retire, args=(retired,), name="kafka-retire", daemon=True).start()

    async def check(self) -> frozenset[str] | None:
        """Ask the broker for the topics; return those that are missing, None without an answer."""
        try:
            metadata = await asyncio.to_thread(
                self._producer.list_topics, timeout=_METADATA_TIMEOUT_S
            )
        except KafkaException as error:
            _LOG.warning("broker_unreachable", detail=str(error))
            return None
        self.trouble = None
        self._missing = self._names - metadata.topics.keys()
        return self._missing

    async def close(self, timeout_s: float) -> int:
        """Send what is queued, for at most `timeout_s`; return the number of records that were not.

        None of those was acknowledged to a sender.
        """
        ends = self._loop.time() + timeout_s
        self._poll()
        while len(self._producer) and self._loop.time() < ends:  # noqa: ASYNC110 - has no event
            await asyncio.sleep(_POLL_S)
        self._polling.cancel()
        if self._renewal is not None:
            self._renewal.cancel()
        return len(self._producer)


def _not_stored(error: KafkaError, reason: str) -> NotStoredError:
    return NotStoredError("refused" if error.code() in REFUSED else reason, str(error))


def _retire(producer: Producer) -> None:
    producer.purge()
    # Serves the reports of what was purged, which hold on to the requests until then.
    try:
        producer.flush(_RETIRE_S)
    except KafkaException as error:
        _LOG.warning("not_flushed", detail=str(error), count=len(producer))


def _configuration(settings: Settings, topics: Topics) -> dict[str, object]:
    largest = max(topics.callbacks.max_message_bytes, topics.dead_letters.max_message_bytes)
    return {
        **settings.kafka_client(),
        "client.id": "billing-gateway",
        "reconnect.backoff.ms": 250,
        "reconnect.backoff.max.ms": 2_000,
        "acks": "all",
        "enable.idempotence": True,
        # What Java clients use: one run, one partition, whoever produces (ONE_RUN_ONE_PARTITION).
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": settings.linger_ms,
        "message.max.bytes": largest,
        "delivery.timeout.ms": settings.delivery_timeout_ms + _GRACE_MS,
        # The bytes in flight are bounded at the door; here is room for a body and its headers.
        "queue.buffering.max.kbytes": 2 * settings.max_inflight_bytes // 1024 + 1024,
        "queue.buffering.max.messages": 0,
    }
