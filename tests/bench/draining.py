"""Filling the callbacks topic, and watching a real consumer process drain it."""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import psutil
import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from producer_gateway.preparer import Envelope, Preparer
from schemas.topics import load_topics
from tests.bench.figures import Comparison, Figures
from tests.bench.payloads import Payloads, receipts_among
from tests.bench.processor import Processes, Spent
from tests.bench.services import Services
from tests.processes.process import Server

_POLL_SECONDS: Final = 0.02
START_SECONDS: Final = 90.0
LEAST_RATE: Final = 100.0
"""Callbacks a second; whoever is slower is given up."""
_WINDOW: Final = 20_000
_WARM_CALLBACKS: Final = 20_000
_NO_COORDINATOR: Final = frozenset({
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
})  # fmt: skip
"""A group that is only just being made has none yet."""


class DrainError(RuntimeError):
    """The consumer did not do what it should; the text says what."""


@dataclass
class Drained:
    """How a drain went: from the first commit that was seen to the last."""

    callbacks: int
    seconds: float
    cpu: Spent
    """Microseconds of a callback; what the consumer had done ahead of the first commit is missing,
    a batch at most and what its client had fetched."""
    resident_mib: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Callbacks a second whose receipts, events and offsets are committed."""
        return self.callbacks / self.seconds


def fill(services: Services, prefix: str, payloads: Payloads, count: int) -> None:
    """Put `count` callbacks on the topic, as the records that the gateway makes of them."""
    preparer = Preparer(load_topics(prefix), drop_content=False)
    envelope = Envelope("litellm", "application/json", None)
    produce_all(
        services.bootstrap, preparer, envelope, payloads.bodies(count, each=min(count, 100))
    )


def produce_all(
    bootstrap: str, preparer: Preparer, envelope: Envelope, bodies: Iterable[bytes]
) -> None:
    """Produce the records of `bodies`; returns when all of them are durable."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 20,
            "message.max.bytes": 16 * 1024 * 1024,
            "queue.buffering.max.messages": 0,
            "queue.buffering.max.kbytes": 2_097_151,
        }
    )
    for body in bodies:
        for topic, key, value, headers in preparer.prepare(body, envelope).records:
            producer.produce(topic, value, key, headers=headers)  # type: ignore[arg-type]
        while len(producer) > _WINDOW:
            producer.poll(0.01)
    if left := producer.flush(120):
        raise DrainError(f"{left} callbacks could not be put on the topic")


def warm_up(services: Services, seconds: float) -> None:
    """Fill and drain for some seconds: a JVM is slow until it has compiled what it runs.

    Without it the first of two measurements pays for the second.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with services.topics() as prefix, services.database() as url:
            fill(services, prefix, Payloads("warm"), _WARM_CALLBACKS)
            drain(services, prefix, url, _WARM_CALLBACKS)


class Progress:
    """How far a group has come on a topic, seen from outside the consumer.

    Args:
        services: the broker.
        prefix: of the callbacks topic.
        group: of the consumer.
        other: name and partitions of another topic.
    """

    def __init__(
        self, services: Services, prefix: str, group: str, other: tuple[str, int] | None = None
    ) -> None:
        callbacks = load_topics(prefix).callbacks
        name, partitions = other or (callbacks.name, callbacks.partitions)
        # Never subscribes, so it is no member; an open transaction's offsets do not count.
        self._asker = Consumer(
            {
                "bootstrap.servers": services.bootstrap,
                "group.id": group,
                "isolation.level": "read_uncommitted",
            }
        )
        self._partitions = [TopicPartition(name, part) for part in range(partitions)]

    def callbacks(self) -> int:
        """Callbacks, or records of the other topic, whose offsets are committed."""
        try:
            committed = self._asker.committed(self._partitions, timeout=20)
        except KafkaException as error:
            if error.args[0].code() not in _NO_COORDINATOR:
                raise
            return 0
        return sum(max(part.offset, 0) for part in committed)

    def close(self) -> None:
        """Leave the broker."""
        self._asker.close()


def drain(
    services: Services,
    prefix: str,
    database_url: str,
    count: int,
    *,
    launcher: tuple[str, ...] = (),
    watch: Callable[[Server], None] | None = None,
) -> Drained:
    """Start a consumer on a full topic and wait until the last of `count` callbacks is committed.

    Starting and joining the group do not count: the time runs from the first commit that is seen,
    and so do the callbacks.

    Args:
        services: the broker and where logs go.
        prefix: of the topics; they hold exactly `count` callbacks.
        database_url: the ledger to write to.
        count: of callbacks.
        launcher: as for `Services.consumer`.
        watch: called once with the process when the first commit was seen.

    Raises:
        DrainError: it did not finish, or the ledger does not hold what it should.
        ElsewhereError: broker or database is no process of this machine.
    """
    group = f"{prefix}{secrets.token_hex(4)}"
    progress = Progress(services, prefix, group)
    try:
        with services.consumer(prefix, database_url, group, launcher) as process:
            processes = Processes(process.pid, database_url, services.bootstrap)
            first = until_committed(process, progress, 1, START_SECONDS)
            began, before = time.perf_counter(), processes.read()
            if watch:
                watch(process)
            memory = psutil.Process(process.pid)
            samples = list[float]()
            last = until_committed(
                process,
                progress,
                count,
                START_SECONDS + count / LEAST_RATE,
                lambda: samples.append(memory.memory_info().rss / 2**20),
            )
            took = time.perf_counter() - began
            cpu = processes.since(before, max(last - first, 1))
    finally:
        progress.close()
    if last == first:
        raise DrainError("all was committed at once: more callbacks are needed for a rate")
    return Drained(last - first, took, cpu, samples)


def cpu_rows(what: str, drained: Sequence[Drained]) -> list[Comparison]:
    """What a callback takes of each process, for the table, beside the rate of the same drains."""
    parts = {
        "the consumer's process": [one.cpu.process for one in drained],
        "PostgreSQL": [one.cpu.server for one in drained],
        "broker": [one.cpu.broker for one in drained],
    }
    return [
        Comparison(f"{what}: {part}", "CPU µs/callback", Figures(part, tuple(values)))
        for part, values in parts.items()
    ]


def check_ledger(database_url: str, count: int) -> None:
    """Raise `DrainError` unless calls 0 to `count` are in the ledger, each once."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM billing.charge_receipts),"
            " (SELECT count(stream) FROM billing.charge_receipts),"
            " (SELECT count(*) FROM billing.deferred_calls)"
        ).fetchone()
    receipts = receipts_among(count)
    if row != (receipts, receipts, count - receipts):
        raise DrainError(f"receipts, details and deferrals are {row}; {receipts} receipts expected")


def until_committed(
    process: Server,
    progress: Progress,
    count: int,
    seconds: float,
    sample: Callable[[], None] = lambda: None,
) -> int:
    """Wait until the group has committed `count` callbacks; how many it has.

    Raises:
        DrainError: not within `seconds`.
        ServerError: the consumer has ended.
    """
    until = time.monotonic() + seconds
    while (done := progress.callbacks()) < count:
        process.check()
        sample()
        if time.monotonic() > until:
            raise DrainError(f"{done} of {count} callbacks after {seconds:g} s\n{process.tail()}")
        time.sleep(_POLL_SECONDS)
    return done
