"""The whole path at a steady rate: from the POST to the row visible and the event readable."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final, Self

import msgspec
import psutil
import psycopg
from confluent_kafka import Consumer, TopicPartition

from schemas.receipt import receipt_id
from schemas.topics import load_topics
from tests.bench.draining import DrainError, Progress
from tests.bench.figures import Comparison, Figures, Target, percentile
from tests.bench.load import Load
from tests.bench.payloads import DEFERRED_EVERY, Payloads, is_deferred
from tests.bench.processor import MICRO, cpu_seconds
from tests.bench.sending import send
from tests.bench.services import Gateway, Services
from tests.bench.sizes import Size
from tests.observers.topics import topic_ends
from tests.waiting import eventually

PER_POST: Final = 10
CONNECTIONS: Final = 64
_SEED: Final = "path"
_SHARES: Final = {"p50": 0.50, "p99": 0.99}
_TARGETS: Final = {"p50": 40.0, "p99": 120.0}
_ROUNDS: Final = 3
_WINDOW: Final = 100
_LOOK_SECONDS: Final = 0.01


class _Event(msgspec.Struct):
    response_id: str


class Watcher:
    """Notes when a name is first seen; `look` is called again and again in a thread of its own."""

    def __init__(self, look: Callable[[], list[str]]) -> None:
        self.seen: dict[str, float] = {}
        self._look = look
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                names = self._look()
                now = time.monotonic()
                self.seen.update((name, now) for name in names)
        except Exception as failure:  # noqa: BLE001 - raised by `wait`
            self._failure = failure

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End: what is looked at is closed next."""
        self._stop.set()
        self._thread.join(10)

    def wait(self, names: set[str]) -> None:
        """Wait until all `names` were seen. Raises `DrainError` or what `look` raised."""

        def all_seen() -> bool:
            if self._failure is not None:
                raise self._failure
            return names <= self.seen.keys()

        try:
            eventually(all_seen, "everything to arrive", 60)
        except TimeoutError as late:
            raise DrainError(f"{len(names - self.seen.keys())} were never seen") from late


def measure(services: Services, size: Size) -> list[Comparison]:
    """Latencies, milliseconds, by share of the callbacks; CPU of the rooms."""
    measured: dict[tuple[str, str], list[float]] = {}
    used: dict[str, list[float]] = {}
    for _ in range(min(size.rounds, _ROUNDS)):
        arrived, cpu = _round(services, size)
        for process, value in cpu.items():
            used.setdefault(process, []).append(value)
        for what, waits in arrived.items():
            for name, share in _SHARES.items():
                value = percentile(waits, share) * 1_000
                measured.setdefault((what, name), []).append(value)
    latencies = [
        Comparison(
            f"whole path at {size.path_rate:,} callbacks/s, {what}: {name}",
            "ms",
            Figures(f"posts of {PER_POST}, 14 kB", tuple(values)),
            target=Target(_TARGETS[name], at_least=False, of_ratio=False),
        )
        for (what, name), values in measured.items()
    ]
    costs = [
        Comparison(
            f"whole path at {size.path_rate:,} callbacks/s: {process}",
            "CPU µs/callback",
            Figures(f"posts of {PER_POST}, 14 kB", tuple(values)),
        )
        for process, values in used.items()
    ]
    return latencies + costs


def _round(services: Services, size: Size) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds from the time at which the POST was due, for each callback that counts; CPU.

    CPU of the two rooms alone: whoever watches what arrives asks broker and database all the time.
    """
    with services.topics() as prefix, services.database() as url:
        group = f"{prefix}consumer"
        with (
            services.gateway(prefix) as gateway,
            services.consumer(prefix, url, group) as consumer,
        ):
            _warm_up(services, prefix, group, gateway)
            rooms = {"gateway": gateway.process.pid, "consumer": consumer.pid}
            processes = {name: psutil.Process(pid) for name, pid in rooms.items()}
            before = {name: cpu_seconds(process) for name, process in processes.items()}
            count, waits = _waits(services, size, prefix, url, gateway)
            used = {
                name: (cpu_seconds(process) - before[name]) * MICRO / count
                for name, process in processes.items()
            }
            return waits, used


def _warm_up(services: Services, prefix: str, group: str, gateway: Gateway) -> None:
    warm = Load(gateway.port, gateway.token, 1, seconds=0.5, per_post=PER_POST, seed="warm")
    posted = sum(send(warm).statuses.values()) * PER_POST
    progress = Progress(services, prefix, group)
    try:
        eventually(lambda: progress.callbacks() >= posted, "the consumer to be ready", 60)
    finally:
        progress.close()


def _waits(
    services: Services, size: Size, prefix: str, url: str, gateway: Gateway
) -> tuple[int, dict[str, list[float]]]:
    payloads = Payloads(_SEED)
    load = Load(
        gateway.port,
        gateway.token,
        CONNECTIONS,
        seconds=size.path_seconds,
        per_post=PER_POST,
        rate=size.path_rate / PER_POST,
        warm_up=size.path_seconds / 5,
        seed=_SEED,
    )
    most = int(load.rate * (load.seconds + load.warm_up + 1)) * PER_POST
    sampled = [payloads.names(number)[:2] for number in range(0, most, DEFERRED_EVERY)]
    with (
        _events(services, prefix) as look_at_events,
        _rows(url, sampled) as look_at_rows,
        Watcher(look_at_events) as events,
        Watcher(look_at_rows) as rows,
    ):
        due = send(load).due
        counted = due[0] + load.warm_up
        times = {
            payloads.names(number)[0]: due[number // PER_POST]
            for number in range(len(due) * PER_POST)
            if not is_deferred(number)
        }
        events.wait(set(times))
        rows.wait(times.keys() & {response for response, _ in sampled})
    waits = {
        what: [seen[name] - at for name, at in times.items() if at >= counted and name in seen]
        for what, seen in (("event readable", events.seen), ("row visible", rows.seen))
    }
    return len(due) * PER_POST, waits


@contextmanager
def _events(services: Services, prefix: str) -> Iterator[Callable[[], list[str]]]:
    """Look at the events that a `read_committed` subscriber can read by now."""
    topic = load_topics(prefix).receipts
    subscriber = Consumer(
        {
            "bootstrap.servers": services.bootstrap,
            "group.id": f"{prefix}subscriber",
            "isolation.level": "read_committed",
            "auto.offset.reset": "latest",
            "fetch.wait.max.ms": 10,
        }
    )
    ends = topic_ends(subscriber, topic.name)
    subscriber.assign([TopicPartition(topic.name, part, end) for part, end in ends.items()])
    decoder = msgspec.json.Decoder(_Event)

    def look() -> list[str]:
        messages = subscriber.consume(500, _LOOK_SECONDS)
        values = [message.value() for message in messages if message.error() is None]
        return [decoder.decode(value).response_id for value in values if value is not None]

    try:
        yield look
    finally:
        subscriber.close()


@contextmanager
def _rows(url: str, sampled: list[tuple[str, str]]) -> Iterator[Callable[[], list[str]]]:
    """Look at the next of the sampled rows that are visible by now.

    By the primary key, and planned anew each time: a plan of when the table was empty reads all
    of it, and takes from the rooms the processor whose work is measured.
    """
    left = {receipt_id("litellm", f"{call}|{response}"): response for response, call in sampled}
    with psycopg.connect(url, autocommit=True) as connection:

        def look() -> list[str]:
            time.sleep(_LOOK_SECONDS)
            found = connection.execute(
                "SELECT id FROM billing.charge_receipts WHERE id = ANY(%s)",
                (list(islice(left, _WINDOW)),),
                prepare=False,
            ).fetchall()
            return [left.pop(number) for (number,) in found]

        yield look
