"""Order and durability over outages, with a Kafka in memory that fails on command."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer_gateway import drain
from producer_gateway.drain import Drain, pause
from producer_gateway.failover import FailoverStore
from producer_gateway.metrics import Metrics
from producer_gateway.spool import Spool
from producer_gateway.store import NotStoredError, Record, Stored

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


class House:
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
    use: Callable[[House], Awaitable[None]], directory: Path, max_bytes: int = 10_000_000
) -> None:
    """Use a house whose Kafka is there."""

    async def run() -> None:
        house = House(MemoryKafka(), directory, max_bytes)
        await house.step()
        try:
            await asyncio.wait_for(use(house), 30)
        finally:
            await house.spool.close(10)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition; the test's own bound ends it."""
    while not condition():  # noqa: ASYNC110 - of a state, which has no event
        await asyncio.sleep(0.005)


def test_while_kafka_is_there_nothing_is_spooled(tmp_path: Path) -> None:
    async def use(house: House) -> None:
        assert await house.store.store([record("a", b"1")]) == Stored(1, 0)
        assert house.count("spooled_total") == 0

    within(use, tmp_path)


def test_before_kafka_has_answered_the_spool_takes_it(tmp_path: Path) -> None:
    async def run() -> None:
        house = House(MemoryKafka(), tmp_path)
        assert await house.store.store([record("a", b"1")]) == Stored(0, 1)
        await house.empty()
        assert house.kafka.values("a") == [b"1"]
        await house.spool.close(10)

    asyncio.run(run())


def test_during_an_outage_only_the_first_requests_wait_for_kafka(tmp_path: Path) -> None:
    async def use(house: House) -> None:
        house.kafka.away = True
        for number in range(20):
            assert await house.store.store([record("a", b"%d" % number)]) == Stored(0, 1)
        assert house.kafka.asked == 1
        assert house.store.away
        house.kafka.away = False
        await house.empty()
        assert house.kafka.values("a") == [b"%d" % number for number in range(20)]
        assert house.count("drained_total") == house.count("spooled_total") == 20
        assert await house.store.store([record("a", b"after")]) == Stored(1, 0)

    within(use, tmp_path)


def test_what_is_in_hand_when_kafka_goes_is_spooled_in_the_order_of_arrival(
    tmp_path: Path,
) -> None:
    async def use(house: House) -> None:
        house.kafka.stuck = True
        waiting = [
            asyncio.create_task(house.store.store([record("a", b"%d" % number)]))
            for number in range(10)
        ]
        await asyncio.sleep(0)
        house.store.leave("all brokers are down")
        later = await house.store.store([record("a", b"10")])
        assert later == Stored(0, 1)
        assert await asyncio.gather(*waiting) == [Stored(0, 1)] * 10
        house.kafka.stuck = False
        await house.empty()
        assert house.kafka.values("a") == [b"%d" % number for number in range(11)]

    within(use, tmp_path)


def test_a_run_queues_behind_its_spooled_records_and_others_do_not(tmp_path: Path) -> None:
    async def use(house: House) -> None:
        house.kafka.away = True
        await house.store.store([record("a", b"1")])
        house.kafka.away = False
        house.store.resume(house.store.outages)
        assert await house.store.store([record("a", b"2")]) == Stored(0, 1)
        assert await house.store.store([record("b", b"1")]) == Stored(1, 0)
        assert await house.store.store([record("c", b"1"), record("a", b"3")]) == Stored(0, 2)
        await house.empty()
        assert house.kafka.values("a") == [b"1", b"2", b"3"]
        assert await house.store.store([record("a", b"4")]) == Stored(1, 0)

    within(use, tmp_path)


def test_a_run_queues_behind_what_is_on_its_way_from_the_spool(tmp_path: Path) -> None:
    async def use(house: House) -> None:
        house.store.leave("test")
        await house.store.store([record("a", b"1")])
        house.store.resume(house.store.outages)
        house.kafka.stuck = True
        draining = asyncio.create_task(house.drain.step())
        await until(lambda: house.kafka.asked > 0)
        assert await house.store.store([record("a", b"2")]) == Stored(0, 1)
        house.store.leave("test")
        with pytest.raises(NotStoredError):
            await draining
        assert house.spool.records == 2
        house.kafka.stuck = False
        await house.empty()
        assert house.kafka.values("a") == [b"1", b"2"]

    within(use, tmp_path)


def test_an_unknown_delivery_is_spooled_as_well(tmp_path: Path) -> None:
    async def use(house: House) -> None:
        house.kafka.acknowledges = False
        assert await house.store.store([record("a", b"1")]) == Stored(0, 1)
        house.kafka.acknowledges = True
        await house.empty()
        assert [one.value for one in house.kafka.kept] == [b"1", b"1"]

    within(use, tmp_path)


def test_what_kafka_refuses_is_set_aside_and_holds_up_nobody(tmp_path: Path) -> None:
    async def use(house: House) -> None:
        assert await house.store.store([record("a", TOO_LARGE)]) == Stored(0, 1)
        assert house.store.away is None
        await house.store.store([record("a", b"2"), record("b", b"1")])
        await house.spool.append([Record("gone", b"c", b"1", [])])
        await house.empty()
        assert house.kafka.values("a") == [b"2"]
        assert house.kafka.values("b") == [b"1"]
        assert house.spool.set_aside == house.count("spool_refused_total") == 2
        assert await house.store.store([record("a", b"3")]) == Stored(1, 0)

    within(use, tmp_path)


def test_neither_kafka_nor_room_is_503(tmp_path: Path) -> None:
    async def use(house: House) -> None:
        house.kafka.away = True
        await house.store.store([record("a", b"x" * 5_000)])
        with pytest.raises(NotStoredError) as refused:
            await house.store.store([record("a", b"y" * 5_000)])
        assert refused.value.reason == "spool_full"
        house.kafka.away = False
        await house.empty()
        assert house.kafka.values("a") == [b"x" * 5_000]

    within(use, tmp_path, max_bytes=9_000)


def test_the_drain_wakes_by_itself(tmp_path: Path) -> None:
    async def use(house: House) -> None:
        draining = asyncio.create_task(house.drain.run())
        house.kafka.away = True
        await house.store.store([record("a", b"1")])
        await until(lambda: house.count("drain_failures_total") >= 2)
        house.kafka.away = False
        await until(lambda: not (house.store.away or house.spool.records))
        house.store.leave("idle")
        await until(lambda: not house.store.away)
        draining.cancel()

    within(use, tmp_path)


def test_the_pause_grows_to_its_cap_and_varies() -> None:
    assert 0.05 <= pause(1) <= 0.1
    assert all(2.5 <= pause(many) <= 5.0 for many in (10, 100, 10_000))
    assert len({pause(5) for _ in range(10)}) > 1


Event = tuple[str, list[str]]
SEND = st.tuples(st.just("send"), st.lists(st.sampled_from("ab"), min_size=1, max_size=3))
FAULT = st.tuples(
    st.sampled_from(["away", "back", "stuck", "deaf", "leave", "step", "restart", "wait"]),
    st.builds(list[str]),
)
EVENTS: st.SearchStrategy[list[Event]] = st.lists(
    st.tuples(FAULT, SEND).map(list), min_size=4, max_size=20
).map(lambda pairs: [event for pair in pairs for event in pair])


class Schedule:
    """Plays events to a house and remembers what was sent of each run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._requests: list[asyncio.Task[Stored]] = []
        self.house = House(MemoryKafka(), directory)
        self.sent: dict[str, list[bytes]] = {}

    async def play(self, number: int, event: str, runs: list[str]) -> None:
        """Let one event happen."""
        kafka = self.house.kafka
        match event:
            case "send":
                await self._send(number, runs)
            case "leave":
                self.house.store.leave("test")
            case "step":
                if not kafka.stuck:
                    await self.house.step()
            case "wait":
                await asyncio.sleep(0.002)
            case "restart":
                await self.stop()
                self.house = House(kafka, self._directory)
            case _:
                kafka.away, kafka.stuck = event == "away", event == "stuck"
                kafka.acknowledges = event != "deaf"
                if not kafka.stuck:
                    kafka.release()

    async def _send(self, number: int, runs: list[str]) -> None:
        records = [record(run, b"%d.%d" % (number, at)) for at, run in enumerate(runs)]
        for one, run in zip(records, runs, strict=True):
            self.sent.setdefault(run, []).append(one.value)
        self._requests.append(asyncio.create_task(self.house.store.store(records)))
        # It has arrived now; its answer may come at any time.
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """Answer what is in hand, and close the spool."""
        self.house.store.leave("stopping")
        await asyncio.gather(*self._requests)
        await self.house.spool.close(10)


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_one_order_per_run_whatever_happens(events: list[Event]) -> None:
    async def run(directory: Path) -> None:
        schedule = Schedule(directory)
        for number, (event, runs) in enumerate([*events, ("restart", []), ("back", [])]):
            await schedule.play(number, event, runs)
        await schedule.house.empty()
        kept = {run: schedule.house.kafka.values(run) for run in schedule.sent}
        await schedule.stop()
        assert kept == schedule.sent

    # Record by record, so that Kafka takes records of other runs while some are spooled.
    with tempfile.TemporaryDirectory() as directory, patch.object(drain, "_BATCH_RECORDS", 1):
        asyncio.run(asyncio.wait_for(run(Path(directory)), 60))
