"""Callbacks that appear on the topic all at once, when whoever reads it is ready."""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import Producer

from producer_gateway.records import Envelope, Preparer
from schemas.topics import load_topics
from tests.bench.draining import DrainError
from tests.bench.services import Services

_TRANSACTION_MS = 600_000


def appear(
    services: Services,
    prefix: str,
    bodies: Iterable[bytes],
    before: Callable[[], None] = lambda: None,
) -> float:
    """Put callbacks on the topic as the records that the gateway makes of them.

    Returns the time (`perf_counter`) before which nobody could read one.

    They are produced in a transaction. Whoever joins a group on a full topic has it drained by the
    first member before the last one is there, and has worked ahead when its first commit is seen.

    Args:
        services: the broker.
        prefix: of the topics.
        bodies: the callbacks.
        before: called when the broker has all of them and nobody can read one yet.
    """
    preparer = Preparer(load_topics(prefix), drop_content=False)
    envelope = Envelope("litellm", "application/json", None)
    producer = Producer(
        {
            "bootstrap.servers": services.bootstrap,
            "transactional.id": f"{prefix}fill",
            "transaction.timeout.ms": _TRANSACTION_MS,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 0,
            "queue.buffering.max.kbytes": 2_097_151,
        }
    )
    producer.init_transactions(60)
    producer.begin_transaction()
    for body in bodies:
        for topic, key, value, headers in preparer.prepare(body, envelope).records:
            producer.produce(topic, value, key, headers=headers)  # type: ignore[arg-type]
        producer.poll(0)
    if left := producer.flush(120):
        raise DrainError(f"{left} callbacks could not be put on the topic")
    before()
    began = time.perf_counter()
    producer.commit_transaction(60)
    return began
