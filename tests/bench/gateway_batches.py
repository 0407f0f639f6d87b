"""Gateway, batches of 100, against one producer with the same settings and nothing in front."""

import time
from collections.abc import Sequence

from confluent_kafka import Producer

from producer_gateway.preparer import Envelope, Preparer
from producer_gateway.producer import _configuration
from producer_gateway.settings import Settings
from producer_gateway.store import Record
from schemas.topics import load_topics
from tests.bench.figures import Comparison, Figures, Target
from tests.bench.load import Load
from tests.bench.payloads import SIZES, Payloads
from tests.bench.sending import send
from tests.bench.services import Services
from tests.bench.sizes import Size

PER_POST = 100
CONNECTIONS = 8
POOL = 40
"""Posts that are made beforehand and sent in turn: 4,000 different callbacks."""
_WINDOW_BYTES = 256 * 1024 * 1024
"""On their way; more would only measure how much fits into memory. Half of the producer's queue."""
_TARGET = Target(0.70)


def measure(services: Services, size: Size) -> list[Comparison]:
    """Records a second that are durable in Kafka."""
    return [_at(services, size, name, each) for name, each in SIZES.items()]


def _at(services: Services, size: Size, name: str, each: int) -> Comparison:
    payloads = Payloads("load", each)
    bodies = [payloads.body(number * PER_POST, PER_POST) for number in range(POOL)]
    ours, bare = list[float](), list[float]()
    for _ in range(size.rounds):
        with services.topics() as prefix, services.gateway(prefix) as gateway:
            load = Load(
                port=gateway.port,
                token=gateway.token,
                connections=CONNECTIONS,
                seconds=size.seconds,
                size=each,
                per_post=PER_POST,
                pool=POOL,
                warm_up=size.seconds / 5,
            )
            ours.append(send(load).per_second * PER_POST)
        with services.topics() as prefix:
            records = prepared(prefix, bodies)
            bare.append(produce(services.bootstrap, prefix, records, size.seconds))
    return Comparison(
        f"gateway, batches of {PER_POST}, {name}",
        "callbacks/s",
        Figures("one worker, durable 202", tuple(ours)),
        Figures("bare producer from memory", tuple(bare)),
        _TARGET,
    )


def prepared(prefix: str, bodies: Sequence[bytes]) -> list[Record]:
    """The records that the gateway makes of `bodies`."""
    preparer = Preparer(load_topics(prefix), drop_content=False)
    envelope = Envelope("litellm", "application/json", None)
    return [record for body in bodies for record in preparer.prepare(body, envelope).records]


def gateway_settings(bootstrap: str) -> Settings:
    """The gateway's settings with their defaults."""
    return Settings.model_validate(
        {"KAFKA_BOOTSTRAP_SERVERS": bootstrap, "BILLING_INGEST_TOKEN": "x" * 64}
    )


def produce(bootstrap: str, prefix: str, records: Sequence[Record], seconds: float) -> float:
    """Produce `records` again and again for some seconds; records a second until all are durable.

    Only failures are reported back one by one: no Python runs for a record that arrives.
    """
    failures = list[object]()
    # The gateway's own function: a limit with other settings would be another limit.
    configuration = _configuration(gateway_settings(bootstrap), load_topics(prefix))
    producer = Producer(
        {
            **configuration,
            "delivery.report.only.error": True,
            "on_delivery": lambda error, _message: failures.append(error),
        }
    )
    producer.list_topics(timeout=20)
    window = _WINDOW_BYTES * len(records) // sum(len(record.value) for record in records)
    sent, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for topic, key, value, headers in records:
            producer.produce(topic, value, key, headers=headers)  # type: ignore[arg-type]
            sent += 1
        while len(producer) > window:
            producer.poll(0.001)
    left = producer.flush(60)
    if left or failures:
        raise RuntimeError(f"{left} records were not delivered, {len(failures)} failed")
    return sent / (time.perf_counter() - began)
