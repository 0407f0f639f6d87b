"""A spool and its drain, with a Kafka in memory that fails on command."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from producer_gateway.drain import Drain
from producer_gateway.failover import FailoverStore
from producer_gateway.metrics import Metrics
from producer_gateway.spool import Spool
from producer_gateway.store import NotStoredError, Record, Stored
from tests.waiting import NET_SECONDS

TOPIC = "callbacks"
TOO_LARGE = b"too large"


def record(run: str, value: bytes) -> Record:
    """A record of a run."""
    return Record(TOPIC, run.encode(), value, [])


class MemoryKafka:
    """Keeps what it is given; while `away`, or `stuck`, it keeps nothing and answers late."""

    def __init__(self) -> None:
        self.topics = frozenset({TOPIC})
        self.kept: list[Record] = []
        self.away = False
        self.stuck = False
        self.acknowledges = True
        self.most_bytes: int | None = None
        """What it takes in time; of more it keeps a part, and the reports are late."""
        self.asked = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def store(self, records: Sequence[Record]) -> Stored:
        """Keep `records`, or fail as told."""
        self.asked += 1
        if self.stuck:
            waits = asyncio.get_running_loop().create_future()
            self._waiting.append(waits)
            await waits
        await asyncio.sleep(0)
        if self.away:
            raise NotStoredError("timeout", "no delivery report in time")
        if any(one.value == TOO_LARGE for one in records):
            raise NotStoredError("refused", "MSG_SIZE_TOO_LARGE")
        if self.most_bytes is not None and sum(len(one.value) for one in records) > self.most_bytes:
            self.kept += records[: len(records) // 2]
            raise NotStoredError("timeout", "no delivery report in time")
        self.kept += records
        if not self.acknowledges:
            raise NotStoredError("timeout", "the report was lost")
        return Stored(len(records), 0)

    def abandon(self) -> None:
        """Fail all that waits."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_exception(NotStoredError("abandoned", "gone meanwhile"))

    def release(self) -> None:
        """Go on with all that waits, in its order, as a producer that is connected again."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def check(self) -> frozenset[str] | None:
        """Whether it is there."""
        return None if self.away or self.stuck else frozenset()

    def values(self, run: str) -> list[bytes]:
        """What it has of a run, each value once, in order of its first arrival."""
        return list(dict.fromkeys(one.value for one in self.kept if one.key == run.encode()))


class MemoryDelivery:
    """Kafka, spool, failover and drain; the drain takes its steps when it is told to."""

    def __init__(self, kafka: MemoryKafka, directory: Path, max_bytes: int = 10_000_000) -> None:
        self.kafka = kafka
        self.metrics = Metrics()
        self.spool = Spool(directory, max_bytes)
        self.store = FailoverStore(kafka, self.spool, self.metrics)
        self.drain = Drain(kafka, self.store, self.spool, self.metrics)

    async def step(self) -> None:
        """One step of the drain, as `run` takes it."""
        try:
            await self.drain.step()
        except NotStoredError as error:
            self.store.leave(str(error))

    async def empty(self) -> None:
        """Drain until nothing is left."""
        for _ in range(100):
            await self.step()
            if not self.spool.records:
                return
        raise AssertionError("the spool is not drained")

    def count(self, name: str) -> float:
        """The value of a metric."""
        return self.metrics.registry.get_sample_value(f"billing_gateway_{name}") or 0.0


def within(
    use: Callable[[MemoryDelivery], Awaitable[None]], directory: Path, max_bytes: int = 10_000_000
) -> None:
    """Use a delivery whose Kafka is there."""

    async def run() -> None:
        delivery = MemoryDelivery(MemoryKafka(), directory, max_bytes)
        await delivery.step()
        try:
            await asyncio.wait_for(use(delivery), NET_SECONDS)
        finally:
            await delivery.spool.close(10)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own bound ends it."""
    while not condition():  # noqa: ASYNC110 - of a state, which has no event
        await asyncio.sleep(0.005)
