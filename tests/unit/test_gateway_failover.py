"""Order and durability over outages, with a Kafka in memory that fails on command."""

import asyncio
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer_gateway import drain
from producer_gateway.drain import BACK_OFF
from producer_gateway.store import NotStoredError, Record, Stored
from tests.doubles.memory_kafka import TOO_LARGE, MemoryDelivery, MemoryKafka, record, until, within
from tests.waiting import NET_SECONDS


def test_while_kafka_is_there_nothing_is_spooled(tmp_path: Path) -> None:
    async def use(delivery: MemoryDelivery) -> None:
        assert await delivery.store.store([record("a", b"1")]) == Stored(1, 0)
        assert delivery.count("spooled_total") == 0

    within(use, tmp_path)


def test_before_kafka_has_answered_the_spool_takes_it(tmp_path: Path) -> None:
    async def run() -> None:
        delivery = MemoryDelivery(MemoryKafka(), tmp_path)
        assert await delivery.store.store([record("a", b"1")]) == Stored(0, 1)
        await delivery.empty()
        assert delivery.kafka.values("a") == [b"1"]
        await delivery.spool.close(10)

    asyncio.run(run())


def test_during_an_outage_only_the_first_requests_wait_for_kafka(tmp_path: Path) -> None:
    async def use(delivery: MemoryDelivery) -> None:
        delivery.kafka.away = True
        for number in range(20):
            assert await delivery.store.store([record("a", b"%d" % number)]) == Stored(0, 1)
        assert delivery.kafka.asked == 1
        assert delivery.store.away
        delivery.kafka.away = False
        await delivery.empty()
        assert delivery.kafka.values("a") == [b"%d" % number for number in range(20)]
        assert delivery.count("drained_total") == delivery.count("spooled_total") == 20
        assert await delivery.store.store([record("a", b"after")]) == Stored(1, 0)

    within(use, tmp_path)


def test_what_is_in_hand_when_kafka_goes_is_spooled_in_the_order_of_arrival(
    tmp_path: Path,
) -> None:
    async def use(delivery: MemoryDelivery) -> None:
        delivery.kafka.stuck = True
        waiting = [
            asyncio.create_task(delivery.store.store([record("a", b"%d" % number)]))
            for number in range(10)
        ]
        await asyncio.sleep(0)
        delivery.store.leave("all brokers are down")
        later = await delivery.store.store([record("a", b"10")])
        assert later == Stored(0, 1)
        assert await asyncio.gather(*waiting) == [Stored(0, 1)] * 10
        delivery.kafka.stuck = False
        await delivery.empty()
        assert delivery.kafka.values("a") == [b"%d" % number for number in range(11)]

    within(use, tmp_path)


def test_a_run_queues_behind_its_spooled_records_and_others_do_not(tmp_path: Path) -> None:
    async def use(delivery: MemoryDelivery) -> None:
        delivery.kafka.away = True
        await delivery.store.store([record("a", b"1")])
        delivery.kafka.away = False
        delivery.store.resume(delivery.store.outages)
        assert await delivery.store.store([record("a", b"2")]) == Stored(0, 1)
        assert await delivery.store.store([record("b", b"1")]) == Stored(1, 0)
        assert await delivery.store.store([record("c", b"1"), record("a", b"3")]) == Stored(0, 2)
        await delivery.empty()
        assert delivery.kafka.values("a") == [b"1", b"2", b"3"]
        assert await delivery.store.store([record("a", b"4")]) == Stored(1, 0)

    within(use, tmp_path)


def test_a_run_queues_behind_what_is_on_its_way_from_the_spool(tmp_path: Path) -> None:
    async def use(delivery: MemoryDelivery) -> None:
        delivery.store.leave("test")
        await delivery.store.store([record("a", b"1")])
        delivery.store.resume(delivery.store.outages)
        delivery.kafka.stuck = True
        draining = asyncio.create_task(delivery.drain.step())
        await until(lambda: delivery.kafka.asked > 0)
        assert await delivery.store.store([record("a", b"2")]) == Stored(0, 1)
        delivery.store.leave("test")
        with pytest.raises(NotStoredError):
            await draining
        assert delivery.spool.records == 2
        delivery.kafka.stuck = False
        await delivery.empty()
        assert delivery.kafka.values("a") == [b"1", b"2"]

    within(use, tmp_path)


def test_an_unknown_delivery_is_spooled_as_well(tmp_path: Path) -> None:
    async def use(delivery: MemoryDelivery) -> None:
        delivery.kafka.acknowledges = False
        assert await delivery.store.store([record("a", b"1")]) == Stored(0, 1)
        delivery.kafka.acknowledges = True
        await delivery.empty()
        assert [one.value for one in delivery.kafka.kept] == [b"1", b"1"]

    within(use, tmp_path)


@pytest.mark.parametrize("most_bytes", [1_000, 3_000, 100_000, 10_000_000])
def test_a_kafka_that_is_slow_gets_less_at_once(tmp_path: Path, most_bytes: int) -> None:
    async def use(delivery: MemoryDelivery) -> None:
        delivery.kafka.away = True
        sent = [b"%05d" % number + b"x" * 995 for number in range(2_500)]
        await delivery.store.store([record("a", value) for value in sent])
        delivery.kafka.away = False
        delivery.kafka.most_bytes = most_bytes
        steps = 0
        while delivery.spool.records:
            await delivery.step()
            steps += 1
            assert steps < 6_000, f"{delivery.spool.records} records still wait"
        assert delivery.kafka.values("a") == sent
        delivery.kafka.most_bytes = None
        await delivery.store.store([record("a", value) for value in sent])
        await delivery.empty()

    within(use, tmp_path)


def test_a_kafka_that_is_away_gets_as_much_at_once_as_before(tmp_path: Path) -> None:
    async def use(delivery: MemoryDelivery) -> None:
        delivery.kafka.away = True
        await delivery.store.store([record("a", b"%d" % number) for number in range(1_000)])
        for _ in range(20):
            await delivery.step()
        delivery.kafka.away = False
        await delivery.step()
        assert not delivery.spool.records

    within(use, tmp_path)


def test_what_kafka_refuses_is_set_aside_and_holds_up_nobody(tmp_path: Path) -> None:
    async def use(delivery: MemoryDelivery) -> None:
        assert await delivery.store.store([record("a", TOO_LARGE)]) == Stored(0, 1)
        assert delivery.store.away is None
        await delivery.store.store([record("a", b"2"), record("b", b"1")])
        await delivery.spool.append([Record("gone", b"c", b"1", [])])
        await delivery.empty()
        assert delivery.kafka.values("a") == [b"2"]
        assert delivery.kafka.values("b") == [b"1"]
        assert delivery.spool.set_aside == delivery.count("spool_refused_total") == 2
        assert await delivery.store.store([record("a", b"3")]) == Stored(1, 0)

    within(use, tmp_path)


def test_neither_kafka_nor_room_is_503(tmp_path: Path) -> None:
    async def use(delivery: MemoryDelivery) -> None:
        delivery.kafka.away = True
        await delivery.store.store([record("a", b"x" * 5_000)])
        with pytest.raises(NotStoredError) as refused:
            await delivery.store.store([record("a", b"y" * 5_000)])
        assert refused.value.reason == "spool_full"
        delivery.kafka.away = False
        await delivery.empty()
        assert delivery.kafka.values("a") == [b"x" * 5_000]

    within(use, tmp_path, max_bytes=9_000)


def test_the_drain_wakes_by_itself(tmp_path: Path) -> None:
    async def use(delivery: MemoryDelivery) -> None:
        draining = asyncio.create_task(delivery.drain.run())
        delivery.kafka.away = True
        await delivery.store.store([record("a", b"1")])
        await until(lambda: delivery.count("drain_failures_total") >= 2)
        delivery.kafka.away = False
        await until(lambda: not (delivery.store.away or delivery.spool.records))
        delivery.store.leave("idle")
        await until(lambda: not delivery.store.away)
        draining.cancel()

    within(use, tmp_path)


def test_the_pause_grows_to_its_cap_and_varies() -> None:
    assert 0.05 <= BACK_OFF.pause(1) <= 0.1
    assert all(2.5 <= BACK_OFF.pause(many) <= 5.0 for many in (10, 100, 10_000))
    assert len({BACK_OFF.pause(5) for _ in range(10)}) > 1


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
    """Plays events to a delivery and remembers what was sent of each run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._requests: list[asyncio.Task[Stored]] = []
        self.delivery = MemoryDelivery(MemoryKafka(), directory)
        self.sent: dict[str, list[bytes]] = {}

    async def play(self, number: int, event: str, runs: list[str]) -> None:
        """Let one event happen."""
        kafka = self.delivery.kafka
        match event:
            case "send":
                await self._send(number, runs)
            case "leave":
                self.delivery.store.leave("test")
            case "step":
                if not kafka.stuck:
                    await self.delivery.step()
            case "wait":
                await asyncio.sleep(0.002)
            case "restart":
                await self.stop()
                self.delivery = MemoryDelivery(kafka, self._directory)
            case _:
                kafka.away, kafka.stuck = event == "away", event == "stuck"
                kafka.acknowledges = event != "deaf"
                if not kafka.stuck:
                    kafka.release()

    async def _send(self, number: int, runs: list[str]) -> None:
        records = [record(run, b"%d.%d" % (number, at)) for at, run in enumerate(runs)]
        for one, run in zip(records, runs, strict=True):
            self.sent.setdefault(run, []).append(one.value)
        self._requests.append(asyncio.create_task(self.delivery.store.store(records)))
        # It has arrived now; its answer may come at any time.
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """Answer what is in hand, and close the spool."""
        self.delivery.store.leave("stopping")
        await asyncio.gather(*self._requests)
        await self.delivery.spool.close(10)


@settings(max_examples=60, deadline=None)
@given(EVENTS)
def test_one_order_per_run_whatever_happens(events: list[Event]) -> None:
    async def run(directory: Path) -> None:
        schedule = Schedule(directory)
        for number, (event, runs) in enumerate([*events, ("restart", []), ("back", [])]):
            await schedule.play(number, event, runs)
        await schedule.delivery.empty()
        kept = {run: schedule.delivery.kafka.values(run) for run in schedule.sent}
        await schedule.stop()
        assert kept == schedule.sent

    # Record by record, so that Kafka takes records of other runs while some are spooled.
    with tempfile.TemporaryDirectory() as directory, patch.object(drain, "_BATCH_RECORDS", 1):
        asyncio.run(asyncio.wait_for(run(Path(directory)), NET_SECONDS))
