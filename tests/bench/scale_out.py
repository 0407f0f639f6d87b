"""More consumers on the same partitions, and more gateways in front of the same broker."""

import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import islice
from typing import Final

import psutil
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.topics import load_topics
from tests.bench.appearing import appear
from tests.bench.draining import Progress, check_ledger
from tests.bench.figures import Comparison, Figures
from tests.bench.gateway_batches import CONNECTIONS, PER_POST, POOL
from tests.bench.load import Load
from tests.bench.payloads import Payloads
from tests.bench.processor import MICRO, cpu_seconds
from tests.bench.sending import send
from tests.bench.services import Services
from tests.bench.sizes import Size
from tests.processes.process import Server
from tests.waiting import eventually

CONSUMERS: Final = (1, 2, 3)
GATEWAYS: Final = (1, 2)
SENDERS: Final = max(GATEWAYS)
"""Load generators; one gateway gets the connections of all of them."""
_WARM_UP: Final = 1_000
"""Callbacks that every member has some of before the time runs."""
_JOIN_SECONDS: Final = 90.0
_LEAST_RATE: Final = 100.0
_ASK_SECONDS: Final = 5
_NOT_YET: Final = frozenset({
    KafkaError._TIMED_OUT,  # noqa: SLF001 - its name
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
})  # fmt: skip
"""A group that is only just being made cannot be described."""


def measure(services: Services, size: Size) -> list[Comparison]:
    """Callbacks a second of several processes together, against one of them."""
    return [*_consumers(services, size), *_gateways(services, size)]


def _consumers(services: Services, size: Size) -> list[Comparison]:
    rates: dict[int, list[float]] = {members: [] for members in CONSUMERS}
    used: dict[int, list[float]] = {members: [] for members in CONSUMERS}
    for number in range(size.rounds):
        for members, measured in rates.items():
            with services.topics() as prefix, services.database() as url:
                count = _WARM_UP + size.callbacks
                bodies = Payloads(f"scale {number}").bodies(count, _WARM_UP)
                with _group(services, prefix, url, members) as (progress, consumers):
                    appear(services, prefix, islice(bodies, 1))
                    _wait_for(progress, consumers, _WARM_UP)
                    readings = list[float]()
                    began = appear(services, prefix, bodies, partial(_note, readings, consumers))
                    _wait_for(progress, consumers, count)
                    measured.append(size.callbacks / (time.perf_counter() - began))
                    _note(readings, consumers)
                    used[members].append((readings[1] - readings[0]) * MICRO / size.callbacks)
                check_ledger(url, count)
    partitions = load_topics().callbacks.partitions
    what = f"consumers on {partitions} partitions, 14 kB"
    cpu = _compared(f"{what}: all of them", "consumer", used, "CPU µs/callback")
    return _compared(what, "consumer", rates) + cpu


def _note(readings: list[float], consumers: list[Server]) -> None:
    """Add what all consumers have used until now, CPU seconds."""
    readings.append(sum(cpu_seconds(psutil.Process(each.pid)) for each in consumers))


def _gateways(services: Services, size: Size) -> list[Comparison]:
    rates: dict[int, list[float]] = {gateways: [] for gateways in GATEWAYS}
    for _ in range(size.rounds):
        for gateways, measured in rates.items():
            measured.append(_posted(services, size, gateways))
    return _compared(f"gateways, batches of {PER_POST}, 14 kB", "gateway", rates)


def _compared(
    what: str, one: str, rates: dict[int, list[float]], unit: str = "callbacks/s"
) -> list[Comparison]:
    alone = Figures(f"1 {one}", tuple(rates.pop(1)))
    return [
        Comparison(f"{count} {what}", unit, Figures(f"{count} {one}s", tuple(measured)), alone)
        for count, measured in rates.items()
    ]


@contextmanager
def _group(
    services: Services, prefix: str, url: str, members: int
) -> Iterator[tuple[Progress, list[Server]]]:
    """Consumers of one group that have their partitions."""
    group = f"{prefix}{secrets.token_hex(4)}"
    with ExitStack() as stack:
        progress = stack.enter_context(closing(Progress(services, prefix, group)))
        started = [services.consumer(prefix, url, group) for _ in range(members)]
        consumers = [stack.enter_context(each) for each in started]
        _wait_for_partitions(services, prefix, group, consumers)
        yield progress, consumers


def _wait_for_partitions(
    services: Services, prefix: str, group: str, consumers: list[Server]
) -> None:
    """Wait until the partitions are spread evenly over all members."""
    admin = AdminClient({"bootstrap.servers": services.bootstrap, "log_level": 2})
    declared = load_topics(prefix)
    share = (declared.callbacks.partitions + declared.usage_units.partitions) // len(consumers)

    def spread() -> bool:
        for each in consumers:
            each.check()
        asked = admin.describe_consumer_groups([group], request_timeout=_ASK_SECONDS)
        try:
            described = asked[group].result(2 * _ASK_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in _NOT_YET:
                raise
            return False
        held = [len(member.assignment.topic_partitions) for member in described.members]
        return held == [share] * len(consumers)

    eventually(spread, f"{len(consumers)} consumers to share the partitions", _JOIN_SECONDS)


def _wait_for(progress: Progress, consumers: list[Server], count: int) -> None:
    """Wait until the group has committed `count` callbacks."""

    def committed() -> bool:
        for each in consumers:
            each.check()
        return progress.callbacks() >= count

    eventually(committed, f"{count} callbacks", _JOIN_SECONDS + count / _LEAST_RATE)


def _posted(services: Services, size: Size, gateways: int) -> float:
    """Callbacks a second that are durable; as many senders and connections for one gateway."""
    with ExitStack() as stack:
        prefix = stack.enter_context(services.topics())
        serving = [stack.enter_context(services.gateway(prefix)) for _ in range(gateways)]
        loads = [
            Load(
                port=serving[number % gateways].port,
                token=serving[number % gateways].token,
                connections=CONNECTIONS // SENDERS,
                seconds=size.seconds,
                per_post=PER_POST,
                pool=POOL,
                warm_up=size.seconds / 5,
                seed=f"sender {number}",
            )
            for number in range(SENDERS)
        ]
        with ThreadPoolExecutor(SENDERS) as senders:
            return sum(answered.per_second for answered in senders.map(send, loads)) * PER_POST
