"""Runs that begin, call and end for a while: when is their cost on the topic, and is it right?"""

import heapq
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from typing import Any, Final
from uuid import UUID

import httpx
from confluent_kafka import Consumer, TopicPartition

from charging.money import summed
from schemas.events import RECEIPT_CREATED, RUN_SETTLED
from schemas.topics import load_topics
from tests.bench.figures import percentile
from tests.bench.payloads import REDACTED, Payloads, receipts_among
from tests.bench.services import Gateway, Services
from tests.observers.topics import topic_ends
from tests.waiting import eventually

_CALLS: Final = 6
"""Most calls of a run."""
_RUN_SECONDS: Final = 15.0
_FLUSH_SECONDS: Final = 5.0
"""LiteLLM posts what it has collected so often."""
_LATE_EVERY: Final = 50
_LATE_SECONDS: Final = 60.0
_WITHIN_SECONDS: Final = 60.0
_SHARE: Final = 0.99
_PER_POST: Final = 100
_TELL_SECONDS: Final = 60.0
CALLBACKS_PATH: Final = "/v1/callbacks/litellm"
UNITS_PATH: Final = "/v1/usage-units"


@dataclass(frozen=True)
class Course:
    """How long runs begin, how many a second, and the seed of what happens in them."""

    seconds: float
    rate: float
    seed: int


@dataclass
class Told:
    """What the topic says of a run."""

    first_at: float = 0.0
    revision: int = 0
    calls: int = 0
    charged_usd: Decimal = Decimal(0)
    receipts: list[Decimal] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """What came of it. `waits` are seconds from the end of each run to its first event."""

    waits: list[float]
    revisions: int
    wrong: list[str]
    calls: int

    @property
    def share(self) -> float:
        """Of the runs, those that were settled in time."""
        return sum(wait <= _WITHIN_SECONDS for wait in self.waits) / len(self.waits)

    @property
    def good(self) -> bool:
        """Whether the objective is met and every figure is right."""
        return self.share >= _SHARE and not self.wrong

    def told(self) -> str:
        """The same for people."""
        shares = {"median": 0.5, "99 %": 0.99, "longest": 1.0}
        waits = ", ".join(
            f"{name} {percentile(self.waits, share):.1f} s" for name, share in shares.items()
        )
        return (
            f"{len(self.waits):,} runs with {self.calls:,} calls, {self.revisions:,} events: "
            f"{self.share:.2%} settled within {_WITHIN_SECONDS:g} s of their end ({waits}); "
            f"{len(self.wrong)} whose last event is not the sum of their receipts"
        )


class _RunPayloads(Payloads):
    """Callbacks whose runs are told."""

    def __init__(self, seed: str) -> None:
        super().__init__(seed, REDACTED)
        self.runs: list[str] = []

    def names(self, number: int) -> tuple[str, str, str]:
        """As of any payload, and the run that was told."""
        response, call, _ = super().names(number)
        return response, call, self.runs[number]


class _World:
    """Programs that make calls in runs, and a proxy that tells of them."""

    def __init__(self, course: Course) -> None:
        self.ends = dict[str, float]()
        self.payloads = _RunPayloads(f"soak-{course.seed}")
        self._course = course
        self._random = random.Random(course.seed)  # noqa: S311 - no secret
        self._due: list[tuple[float, int, str, bytes]] = []
        self._numbers = count()

    def steps(self) -> Iterator[tuple[float, str, bytes]]:
        """What is posted: after how many seconds, to which path, an element of a list."""
        for number in range(int(self._course.seconds * self._course.rate)):
            began = number / self._course.rate
            yield from self._until(began)
            self._run(f"run-{number}", began)
        yield from self._until(float("inf"))

    def _until(self, moment: float) -> Iterator[tuple[float, str, bytes]]:
        while self._due and self._due[0][0] <= moment:
            at, _, path, element = heapq.heappop(self._due)
            yield at, path, element

    def _run(self, run: str, began: float) -> None:
        at = began
        for _ in range(self._random.randint(1, _CALLS)):
            at += self._random.uniform(0, _RUN_SECONDS / _CALLS)
            number = len(self.payloads.runs)
            self.payloads.runs.append(run)
            late = _LATE_SECONDS if self._random.randrange(_LATE_EVERY) == 0 else 0
            posted = at + self._random.uniform(0, _FLUSH_SECONDS) + late
            self._add(posted, CALLBACKS_PATH, self.payloads.element(number))
        self.ends[run] = at
        self._add(at, UNITS_PATH, run.encode())

    def _add(self, at: float, path: str, element: bytes) -> None:
        heapq.heappush(self._due, (at, next(self._numbers), path, element))


def soak(services: Services, course: Course, say: Callable[[str], None]) -> Found:
    """Have runs begin and end, and wait for what is said of them.

    Raises `TimeoutError` where the last of it does not come.
    """
    world = _World(course)
    with services.topics() as prefix, services.database() as url:
        group = f"{prefix}consumer"
        with (
            services.gateway(prefix) as gateway,
            services.consumer(prefix, url, group),
            closing(_subscriber(services, prefix)) as subscriber,
        ):
            told = dict[str, Told]()
            began = time.time()
            _play(world, gateway, lambda: _read(subscriber, told), began, say)
            calls = len(world.payloads.runs)

            def all_there() -> bool:
                _read(subscriber, told)
                charged = sum(len(one.receipts) for one in told.values())
                return charged == receipts_among(calls) and not _wrong(world, told)

            try:
                eventually(all_there, "the last events", 2 * _LATE_SECONDS)
            except TimeoutError as late:
                say(str(late))
    ended = {run: began + at for run, at in world.ends.items()}
    waits = [told[run].first_at - at for run, at in ended.items() if run in told]
    waits += [float("inf") for run in ended if run not in told or not told[run].revision]
    revisions = sum(one.revision for one in told.values())
    return Found(sorted(waits), revisions, _wrong(world, told), calls)


def _play(
    world: _World,
    gateway: Gateway,
    look: Callable[[], None],
    began: float,
    say: Callable[[str], None],
) -> None:
    headers = {"Authorization": f"Bearer {gateway.token}"}
    spoken = time.monotonic()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{gateway.port}", headers=headers, timeout=60, trust_env=False
    ) as client:
        for at, path, element in world.steps():
            while time.time() < began + at:
                look()
            body = element if path == CALLBACKS_PATH else _completed(element.decode(), began + at)
            client.post(path, content=b"[" + body + b"]").raise_for_status()
            if time.monotonic() - spoken > _TELL_SECONDS:
                spoken = time.monotonic()
                say(f"{time.time() - began:.0f} s: {len(world.ends):,} runs")


def _completed(run: str, at: float) -> bytes:
    unit = {
        "unit_id": str(UUID(bytes=random.randbytes(16))),  # noqa: S311 - no secret
        "run_id": run,
        "executor": "soak",
        "finished_at": datetime.fromtimestamp(at, UTC).isoformat(),
        "run_completed": True,
    }
    return json.dumps(unit).encode()


def _subscriber(services: Services, prefix: str) -> Consumer:
    topic = load_topics(prefix).receipts
    subscriber = Consumer(
        {
            "bootstrap.servers": services.bootstrap,
            "group.id": f"{prefix}subscriber",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
    )
    ends = topic_ends(subscriber, topic.name)
    subscriber.assign([TopicPartition(topic.name, part, 0) for part in ends])
    return subscriber


def _read(subscriber: Consumer, told: dict[str, Told]) -> None:
    for message in subscriber.consume(500, 0.05):
        value, headers = message.value(), dict(message.headers() or [])
        if message.error() is not None or value is None:
            continue
        event: dict[str, Any] = json.loads(value)
        kind = headers["ce_type"]
        if kind == RECEIPT_CREATED.encode():
            run = told.setdefault(event["run_id"], Told())
            run.receipts.append(Decimal(event["charged_usd"]))
        elif kind == RUN_SETTLED.encode():
            run = told.setdefault(event["run_id"], Told())
            run.first_at = run.first_at or time.time()
            run.revision = event["revision"]
            run.calls = event["calls"]
            run.charged_usd = Decimal(event["charged_usd"])


def _wrong(world: _World, told: dict[str, Told]) -> list[str]:
    """Runs whose last event is not the sum of their receipts, or that have none."""
    return [
        run
        for run in world.ends
        if (one := told.get(run)) is None
        or not one.revision
        or (one.calls, one.charged_usd) != (len(one.receipts), summed(one.receipts))
    ]
