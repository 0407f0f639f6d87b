"""Callbacks of 2 MB, as an image in the prompt makes them, through gateway and consumer."""

import time

from confluent_kafka import Consumer

from schemas.topics import load_topics
from tests.bench.bare_producer import Produced, Work, produced
from tests.bench.draining import Drained, cpu_rows, drain, fill
from tests.bench.figures import Comparison, Figures
from tests.bench.load import Load
from tests.bench.payloads import FAT, Payloads
from tests.bench.posting import Posted, post
from tests.bench.services import Services
from tests.bench.sizes import Size

CONNECTIONS = 8
POOL = 20
_READ_SECONDS = 120.0


def measure(services: Services, size: Size) -> list[Comparison]:
    """Callbacks a second; two of them are 4 MB."""
    payloads = Payloads("load", FAT)
    posted, bare = list[Posted](), list[Produced]()
    drained, read = list[Drained](), list[float]()
    for _ in range(size.rounds):
        with services.topics() as prefix, services.gateway(prefix) as gateway:
            load = Load(
                gateway.port,
                gateway.token,
                CONNECTIONS,
                size.seconds,
                size=FAT,
                pool=POOL,
                warm_up=size.seconds / 5,
            )
            posted.append(post(services, gateway, load))
        with services.topics() as prefix:
            work = Work(services.bootstrap, prefix, size.seconds, FAT, POOL)
            bare.append(produced(work))
    with services.topics() as prefix:
        fill(services, prefix, payloads, size.fat_callbacks)
        for _ in range(size.rounds):
            with services.database() as url:
                drained.append(drain(services, prefix, url, size.fat_callbacks))
            read.append(read_all(services, prefix, size.fat_callbacks))
    return [
        Comparison(
            "gateway, one callback of 2 MB a POST",
            "callbacks/s",
            Figures("one worker, durable 202", tuple(one.per_second for one in posted)),
            Figures("bare producer from memory", tuple(one.per_second for one in bare)),
        ),
        Comparison(
            "gateway, one callback of 2 MB a POST: its process",
            "CPU µs/callback",
            Figures("the gateway's process", tuple(one.process for one in posted)),
            Figures("bare producer from memory, its process", tuple(one.cpu for one in bare)),
        ),
        Comparison(
            "consumer, callbacks of 2 MB",
            "callbacks/s",
            Figures("Kafka to receipts, events, offsets", tuple(one.rate for one in drained)),
            Figures("a consumer that only reads", tuple(read)),
        ),
        *cpu_rows("consumer, callbacks of 2 MB", drained),
    ]


def read_all(services: Services, prefix: str, count: int) -> float:
    """Callbacks a second of a consumer that throws them away, from the first to the last."""
    reader = Consumer(
        {
            "bootstrap.servers": services.bootstrap,
            "group.id": f"{prefix}reader-{time.monotonic_ns()}",
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": 16_777_216,
            "queued.max.messages.kbytes": 65_536,
        }
    )
    reader.subscribe([load_topics(prefix).callbacks.name])
    until = time.monotonic() + _READ_SECONDS
    seen, first, began = 0, 0, 0.0
    try:
        while seen < count:
            seen += len(reader.consume(1_000, 0.05))
            if seen and not first:
                first, began = seen, time.perf_counter()
            if time.monotonic() > until:
                raise TimeoutError(f"read {seen} of {count} callbacks in {_READ_SECONDS:g} s")
        return (count - first) / (time.perf_counter() - began)
    finally:
        reader.close()
