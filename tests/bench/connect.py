"""Kafka Connect with Debezium's JDBC sink, which writes receipts that somebody has decided before.

It does half of the job: it reads no callbacks, decides nothing, publishes nothing. Its records are
flat, its converter knows their schema from its settings, and its JVM has had many of them before
the first is counted.
"""

import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import httpx
import msgspec
import psutil
import psycopg
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from charging.decision import decide
from charging.outcomes import Charge
from schemas.receipt import to_kafka
from schemas.record import Record
from tests.bench import processor
from tests.bench.committing import Committed
from tests.bench.connect_settings import AMOUNTS, HERE, columns, settings
from tests.bench.draining import LEAST_RATE, START_SECONDS, DrainError, Progress, until_committed
from tests.bench.figures import Comparison, Figures, Target
from tests.bench.others import OURS, committed
from tests.bench.payloads import REDACTED, Payloads
from tests.bench.processor import MICRO
from tests.bench.services import Services, wait_for_http
from tests.brokers.apache_kafka import FULL, java_command
from tests.brokers.jars import digest, fetch
from tests.inputs.callbacks import policy
from tests.processes.process import Server, free_port
from tests.waiting import eventually

NAME: Final = "Kafka Connect, Debezium's JDBC sink"
BEGIN: Final = "<!-- connect: written by `python -m tests.bench connect --write` -->"
END: Final = "<!-- end of connect -->"
_WARM: Final = 200_000
"""Records before those that count; fewer, and the JVM is still compiling."""
_PARTITIONS: Final = 12
_CHECK_SECONDS: Final = 2.0
_OF_CONNECT: Final = Target(0.8, at_least=False)
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True)
class Receipt:
    """A decided receipt as Connect reads it."""

    run_id: str
    value: bytes


@dataclass
class _Rounds:
    ours: list[Committed] = field(default_factory=list)
    parts: list[dict[str, float]] = field(default_factory=list)


def measure(services: Services, rounds: int, count: int) -> list[Comparison]:
    """CPU of a receipt of all processes, ours and Connect's in turn.

    Args:
        services: broker and database.
        rounds: how often.
        count: callbacks of 4 kB a round; Connect gets the receipts among them.

    Raises:
        JarsError: Maven could not fetch Connect.
        DrainError: a receipt is not there.
    """
    seen = _Rounds()
    with _running(services) as worker:
        worker.takes(receipts(Payloads("warm", REDACTED), _WARM))
        for number in range(rounds):
            payloads = Payloads(f"connect {number}", REDACTED)
            with OURS.database(services) as url:
                seen.ours.append(committed(services, OURS, url, payloads, count))
            seen.parts.append(worker.measured(list(receipts(payloads, count))))
    return _rows(seen)


def receipts(payloads: Payloads, count: int) -> Iterator[Receipt]:
    """The receipts of `count` callbacks, decided by our own rules."""
    terms = policy()
    for number in range(count):
        headers = [("source", b"litellm"), ("content-type", b"application/json")]
        element = payloads.element(number)
        record = Record("callbacks", 0, number, 1_795_981_698_610, b"", element, headers, 0)
        decided = decide(record, terms)
        if isinstance(decided, Charge):
            said = msgspec.json.decode(to_kafka(decided.receipt).value or b"")
            yield Receipt(said["run_id"], _flat(said))


def _flat(said: dict[str, Any]) -> bytes:
    flat = {name: said[name] for name in columns()} | {"tags": ", ".join(said["tags"])}
    return _encode(flat | {name: Decimal(said[name]) for name in AMOUNTS})


@dataclass
class _Worker:
    services: Services
    process: Server
    progress: Progress
    connection: psycopg.Connection[Any]
    topic: str
    rest: str
    taken: int = 0
    checked: float = 0.0

    def takes(self, some: Iterable[Receipt]) -> None:
        """Have it write receipts; returns once all are committed."""
        self._until(self._produce(some))

    def measured(self, some: list[Receipt]) -> dict[str, float]:
        """CPU µs of a receipt by part. All are on the topic before the first is read."""
        self._ask("pause")
        eventually(lambda: self._states() == {"PAUSED"}, "Connect to pause", START_SECONDS)
        self.connection.execute("TRUNCATE billing.flat_receipts")
        count = self._produce(some)
        before = self._read()
        self._ask("resume")
        self._until(count)
        after = self._read()
        found = self.connection.execute("SELECT count(*) FROM billing.flat_receipts").fetchone()
        if found != (count,):
            raise DrainError(f"{found} receipts are in Connect's table; {count} expected")
        return {part: (after[part] - before[part]) * MICRO / count for part in after}

    def _read(self) -> dict[str, float]:
        broker = processor.broker(self.services.bootstrap)
        return {
            "its process": processor.cpu_seconds(psutil.Process(self.process.pid)),
            "PostgreSQL": processor.kept(self.connection).cpu,
            "broker": processor.cpu_seconds(broker),
        }

    def _produce(self, some: Iterable[Receipt]) -> int:
        producer = Producer({
            "bootstrap.servers": self.services.bootstrap,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 20,
            "queue.buffering.max.messages": 0,
            "queue.buffering.max.kbytes": 2_097_151,
        })  # fmt: skip
        count = 0
        for count, one in enumerate(some, 1):  # noqa: B007 - counted
            producer.produce(self.topic, one.value, one.run_id)
        if left := producer.flush(120):
            raise DrainError(f"{left} receipts could not be put on the topic")
        return count

    def _until(self, count: int) -> None:
        self.taken += count
        seconds = START_SECONDS + count / LEAST_RATE
        until_committed(self.process, self.progress, self.taken, seconds, self._check)

    def _check(self) -> None:
        if time.monotonic() < self.checked + _CHECK_SECONDS:
            return
        self.checked = time.monotonic()
        if "FAILED" in self._states():
            raise DrainError(f"Connect gave up\n{self.process.tail()}")

    def _states(self) -> set[str]:
        """Of the connector and its tasks."""
        said = httpx.get(f"{self.rest}/status", trust_env=False, timeout=20).json()
        return {one["state"] for one in (said["connector"], *said["tasks"])}

    def _ask(self, verb: str) -> None:
        httpx.put(f"{self.rest}/{verb}", trust_env=False, timeout=20).raise_for_status()


@contextmanager
def _running(services: Services) -> Iterator[_Worker]:
    """A worker with its connector, topic and table, started."""
    pom = HERE / "pom.xml"
    jars = fetch(pom, f"connect-{digest(pom)}", NAME, print)
    name, port = f"bench-{secrets.token_hex(4)}", free_port()
    rest = f"http://127.0.0.1:{port}/connectors/{name}"
    directory = services.directory / name
    directory.mkdir()
    with (
        _topic(services, name),
        services.empty_database() as url,
        psycopg.connect(url, autocommit=True) as connection,
        closing(Progress(services, "", f"connect-{name}", (name, _PARTITIONS))) as progress,
    ):
        connection.execute((HERE / "flat_receipts.sql").read_bytes())
        files = settings(services.bootstrap, directory, url, name, port)
        command = java_command(jars, directory, "1g", FULL)
        command += ["org.apache.kafka.connect.cli.ConnectStandalone", *map(str, files)]
        process = Server(NAME, command, directory / "connect.log")
        process.start()
        try:
            wait_for_http(process, f"{rest}/status", 200)
            yield _Worker(services, process, progress, connection, name, rest)
        finally:
            process.kill()


@contextmanager
def _topic(services: Services, name: str) -> Iterator[None]:
    admin = AdminClient({"bootstrap.servers": services.bootstrap, "log_level": 2})
    for made in admin.create_topics([NewTopic(name, _PARTITIONS, 1)]).values():
        made.result(60)
    try:
        yield
    finally:
        for deleted in admin.delete_topics([name], operation_timeout=30).values():
            deleted.result(60)


def _rows(seen: _Rounds) -> list[Comparison]:
    theirs = [sum(parts.values()) for parts in seen.parts]
    whole = Figures(OURS.name, tuple(one.cpu for one in seen.ours))
    unit = "CPU µs/receipt"
    return [
        Comparison(
            "Kafka to PostgreSQL, all processes, 4 kB",
            unit, whole, Figures(f"{NAME}, of decided receipts", tuple(theirs)), _OF_CONNECT,
        ),
        *(
            Comparison(
                f"{NAME}: {part}", unit, Figures(part, tuple(one[part] for one in seen.parts))
            )
            for part in ("its process", "PostgreSQL", "broker")
        ),
    ]  # fmt: skip
