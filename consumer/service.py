"""The composition root: builds the consumer from its settings and runs it."""

import gc
import signal
import uuid
from functools import partial
from threading import Event
from types import FrameType
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException

from charging import decision
from charging.decision import decide
from consumer import metrics
from consumer.backlog import Backlog
from consumer.continuity import Continuity
from consumer.credit_events import CreditEventPublisher, EventTopic
from consumer.health import Health
from consumer.leaving import leave
from consumer.loop import Loop
from consumer.offsets import Offsets
from consumer.outside import Events, Ledger, RealMachine
from consumer.publisher import Publisher
from consumer.settings import Settings
from consumer.topics import KafkaTopics
from consumer.tracing import Batches, TracedEvents, TracedLedger
from consumer.waiting import first_answer, first_clients, reach
from ledger.credit_events import CreditEvents
from ledger.receipts import ReceiptWriter
from runtime import VERSION
from runtime.batches import fetch_bounds
from runtime.kafka import Administrator, client_config, note
from runtime.metrics import KAFKA_ERRORS
from runtime.probes import Probes
from runtime.tracing import Traces, traces
from schemas.topics import Topics, load_topics

log = structlog.get_logger("consumer")

_EMERGENCIES: Final = 0
_AWAY_MS: Final = 30_000
CLIENT: Final = f"billing-consumer-{VERSION}"


def kafka_config(settings: Settings) -> dict[str, Any]:
    """Return what every Kafka client of the consumer has in common."""
    return client_config(settings, CLIENT)


def compiled() -> bool:
    """Say whether decisions are made by the compiled modules, as in the image."""
    return decision.__file__.endswith(".so")


def _on_error(health: Health, error: KafkaError) -> None:
    if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - librdkafka's own name
        health.missing = "kafka"
    note(error)


def _silent(error: KafkaError) -> None:
    KAFKA_ERRORS.labels(error.name()).inc()


def consumer_config(settings: Settings) -> dict[str, Any]:
    """Return the group member's configuration: nothing is committed or stored by itself."""
    return kafka_config(settings) | {
        "group.id": settings.consumer_group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # `Offsets` decides
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": settings.consumer_session_timeout_ms,
        # Members learn of a rebalance from the answer to a heartbeat.
        "heartbeat.interval.ms": min(3_000, settings.consumer_session_timeout_ms // 10),
        # Longer than the loop is ever away from polling: ten seconds for the batch in flight when
        # partitions are taken away. Also how long the group waits for a member that does not join.
        "max.poll.interval.ms": max(_AWAY_MS, settings.consumer_session_timeout_ms),
        "isolation.level": "read_committed",
        # A partition that is added waits until it is seen.
        "topic.metadata.refresh.interval.ms": 30_000,
        **fetch_bounds(settings.consumer_fetch_bytes),
        # By default the client fetches nothing for a second once so much waits, whoever is waiting.
        "fetch.queue.backoff.ms": 10,
    }


def producer_config(settings: Settings, topics: Topics) -> dict[str, Any]:
    """Return the transactional producer's configuration.

    The transactional id is new for each process: which member may commit is decided by the group's
    generation, which travels with the offsets.
    """
    return kafka_config(settings) | {
        "transactional.id": f"{settings.consumer_group}-{uuid.uuid4()}",
        "transaction.timeout.ms": settings.consumer_transaction_timeout_ms,
        "message.timeout.ms": settings.consumer_transaction_timeout_ms,
        "acks": "all",
        "partitioner": "murmur2_random",
        # Every client reads it. The receipts topic has the broker compress what it stores.
        "compression.type": "none",
        # Nothing waits for it: a commit sends what is there, one request a partition and batch. But
        # it has to be less than the shortest time that a transaction may be given.
        "linger.ms": 500,
        "message.max.bytes": topics.dead_letters.max_message_bytes,
    }


def _told(settings: Settings, topics: Topics) -> CreditEventPublisher:
    """Return what publishes the events that wait in the ledger; one member of the group does."""
    group = f"{settings.consumer_group}-credit-events"
    # The loop's own clients say what is wrong with Kafka.
    quiet = {"error_cb": _silent, "log_level": _EMERGENCIES}
    writer = producer_config(settings, topics) | quiet | {"transactional.id": group}
    reader = kafka_config(settings) | quiet | {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
    }  # fmt: skip
    return CreditEventPublisher(
        CreditEvents(settings.database_url.get_secret_value(), settings.consumer_database_role),
        partial(EventTopic, writer, reader, topics.credits.name, topics.receipts.name),
        str(uuid.uuid4()),
        settings.consumer_checkpoint_seconds,
        settings.consumer_run_grace_seconds,
    )


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then finish the batch in hand. Raises what cannot heal."""
    told = traces(settings, "consumer")
    stopping = _stopping()
    health = Health(settings.consumer_stalled_after_seconds)
    ledger = ReceiptWriter(
        settings.database_url.get_secret_value(),
        settings.consumer_database_role,
        settings.credit_terms,
        seals=settings.consumer_seals,
    )
    reach(ledger)
    probes = Probes(
        settings.consumer_metrics_host,
        settings.consumer_metrics_port,
        health.live,
        health.ready,
        exemplars=settings.billing_traces != "off",
    )
    try:
        if first_answer(ledger, health, stopping, settings.consumer_retry_max_ms / 1_000):
            port = probes.server_port
            _run(settings, ledger, health, stopping, probes_port=port, told=told)
    finally:
        if told is not None:
            told.close()
        ledger.close()
        probes.shutdown()
    log.info("consumer stopped")


def _run(
    settings: Settings,
    ledger: ReceiptWriter,
    health: Health,
    stopping: Event,
    *,
    probes_port: int,
    told: Traces | None,
) -> None:
    topics = load_topics(settings.billing_topic_prefix)
    publisher = first_clients(
        lambda: Publisher(producer_config(settings, topics), topics, settings.consumer_group),
        partial(_answers, settings),
        health,
        stopping,
        settings.consumer_retry_max_ms / 1_000,
    )
    if publisher is None:
        return
    consumer = Consumer(consumer_config(settings) | {"error_cb": partial(_on_error, health)})
    offsets = Offsets(KafkaTopics(kafka_config(settings)), settings.consumer_group, ledger)
    rules = settings.policy(topics.usage_units.name)
    decided = partial(decide, policy=rules)
    continuity = Continuity(decided, ledger, offsets, stopping)
    books: Ledger = ledger
    events: Events = publisher
    if told is not None:
        batches = Batches(told, settings.consumer_group)
        books = TracedLedger(ledger, batches)
        events = TracedEvents(publisher, batches, topics.receipts.name)
    loop = Loop(
        settings,
        decided,
        consumer,
        books,
        events,
        offsets=offsets,
        continuity=continuity,
        health=health,
        stop=stopping,
        machine=RealMachine(),
    )
    backlog = Backlog(
        # The loop's own clients say what is wrong with Kafka.
        kafka_config(settings) | {"error_cb": _silent, "log_level": _EMERGENCIES},
        settings.consumer_group,
        [topics.callbacks.name, topics.usage_units.name],
        [topics.receipts.name, topics.dead_letters.name, topics.credits.name],
    )
    for dependency in ("kafka", "postgresql", "ledger"):
        metrics.MISSING.labels(dependency).set_function(partial(_is_missing, health, dependency))
    log.info(
        "consumer started",
        version=VERSION,
        compiled=compiled(),
        group=settings.consumer_group,
        probes=f"{settings.consumer_metrics_host}:{probes_port}",
    )
    # What exists now lives on. What a batch makes is many, refers to nothing but its own parts, and
    # goes with the batch: looking through it for cycles every 700 objects finds none.
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    telling = _told(settings, topics)
    backlog.start()
    telling.start()
    try:
        loop.run([topics.callbacks.name, topics.usage_units.name])
    finally:
        leave(consumer)
        backlog.close()
        telling.close()


def _answers(settings: Settings) -> bool:
    try:
        Administrator(kafka_config(settings)).topics()
    except KafkaException:
        return False
    return True


def _is_missing(health: Health, dependency: str) -> bool:
    return health.missing == dependency


def _stopping() -> Event:
    """Return what SIGTERM and SIGINT set."""
    stopping = Event()

    def stop(number: int, _: FrameType | None) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping
