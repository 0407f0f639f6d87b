"""A producer that can never produce again is replaced, not the process."""

import asyncio
import ctypes
import itertools
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import confluent_kafka
import pytest
from confluent_kafka import Producer

from producer_gateway.metrics import Metrics
from producer_gateway.producer import KafkaStore
from producer_gateway.settings import Settings
from producer_gateway.storage import Storage
from producer_gateway.store import NotStoredError, Record, Stored
from schemas.topics import load_topics
from tests.waiting import NET_SECONDS

PACKAGE = Path(confluent_kafka.__file__).parent
(LIBRARY,) = PACKAGE.with_name("confluent_kafka.libs").glob("librdkafka-*.so*")
INVALID_PRODUCER_EPOCH = 47
RECORD = Record("billing.callbacks.v1", b"run", b"{}", [])


def break_for_ever(producer: Producer) -> None:
    """Give a client a fatal error, by librdkafka's own function for tests."""
    trigger = ctypes.CDLL(str(LIBRARY)).rd_kafka_test_fatal_error
    # The client's handle is the first field behind the head of the Python object.
    handle = ctypes.c_void_p.from_address(id(producer) + object.__basicsize__)
    assert trigger(handle, INVALID_PRODUCER_EPOCH, b"broken by a test") == 0


def storage(port: int, metrics: Metrics, directory: Path | None) -> Storage:
    """What stands behind the door; the topics count as seen."""
    environment = {
        "BILLING_INGEST_TOKEN": "t" * 32,
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
        **({"GATEWAY_SPOOL_DIR": str(directory)} if directory else {}),
    }
    made = Storage(Settings.model_validate(environment), load_topics(), metrics, pytest.fail)
    made.kafka._missing = frozenset()  # noqa: SLF001 - only a broker could say so
    return made


def within(use: Callable[[Storage, Metrics], Awaitable[None]], directory: Path | None) -> None:
    """Use a storage in front of a broker that takes connections and never answers."""

    async def run(port: int) -> None:
        metrics = Metrics()
        made = storage(port, metrics, directory)
        try:
            await asyncio.wait_for(use(made, metrics), NET_SECONDS)
        finally:
            await made.close(0)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(run(silent.getsockname()[1]))


def producer(kafka: KafkaStore) -> Producer:
    """The producer of the moment."""
    return kafka._producer  # noqa: SLF001 - nothing outside knows it


async def another(kafka: KafkaStore, than: Producer) -> float:
    """Wait for a new producer; the loop's time at which it was made."""
    while producer(kafka) is than:  # noqa: ASYNC110 - of a state, which has no event
        await asyncio.sleep(0.01)
    return kafka._connected_at  # noqa: SLF001 - whoever waits may see it late


def lost(metrics: Metrics) -> float | None:
    """How many fatal errors were counted."""
    return metrics.registry.get_sample_value("billing_gateway_producer_fatal_total")


def test_a_fatal_error_ends_what_waits_and_the_next_get_a_new_producer() -> None:
    async def use(made: Storage, metrics: Metrics) -> None:
        first = producer(made.kafka)
        waiting = asyncio.create_task(made.store.store([RECORD]))
        await asyncio.sleep(0.05)
        break_for_ever(first)
        with pytest.raises(NotStoredError) as ended:
            await asyncio.wait_for(waiting, NET_SECONDS)
        assert ended.value.reason == "abandoned"
        assert "broken by a test" in (made.away() or "")
        await another(made.kafka, first)
        assert lost(metrics) == 1
        again = asyncio.create_task(made.store.store([RECORD]))
        await asyncio.sleep(0.3)
        assert not again.done()
        again.cancel()

    within(use, None)


def test_with_a_spool_a_fatal_error_costs_nobody_anything(tmp_path: Path) -> None:
    async def use(made: Storage, metrics: Metrics) -> None:
        assert made.spool is not None
        assert made._failover is not None  # noqa: SLF001 - a broker would be needed
        made._failover.away = None  # noqa: SLF001
        first = producer(made.kafka)
        waiting = asyncio.create_task(made.store.store([RECORD]))
        await asyncio.sleep(0.05)
        break_for_ever(first)
        assert await asyncio.wait_for(waiting, NET_SECONDS) == Stored(0, 1)
        assert "broken by a test" in (made.away() or "")
        await another(made.kafka, first)
        assert lost(metrics) == 1
        assert made.spool.records == 1

    within(use, tmp_path)


def test_an_error_that_returns_at_once_makes_one_producer_a_second() -> None:
    async def use(made: Storage, metrics: Metrics) -> None:
        times = []
        for _ in range(3):
            current = producer(made.kafka)
            break_for_ever(current)
            times.append(await another(made.kafka, current))
        assert min(later - sooner for sooner, later in itertools.pairwise(times)) > 0.9
        assert lost(metrics) == 3

    within(use, None)


def test_while_it_is_replaced_nothing_is_taken() -> None:
    async def use(made: Storage, _: Metrics) -> None:
        first = producer(made.kafka)
        made.kafka._connected_at += NET_SECONDS  # noqa: SLF001 - so that the new one waits
        break_for_ever(first)
        while made.kafka.lost() is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with pytest.raises(NotStoredError) as refused:
            await made.store.store([RECORD])
        assert refused.value.reason == "no_producer"

    within(use, None)
