"""Gateway, batches of 100, against one producer with the same settings and nothing in front."""

from typing import Final

from tests.bench.bare_producer import Produced, Work, produced
from tests.bench.figures import Comparison, Figures, Target
from tests.bench.load import Load
from tests.bench.payloads import SIZES
from tests.bench.posting import Posted, post
from tests.bench.services import Gateway, Services
from tests.bench.sizes import Size

PER_POST: Final = 100
CONNECTIONS: Final = 8
POOL: Final = 40
"""Posts that are made beforehand and sent in turn: 4,000 different callbacks."""
CPU: Final = "CPU µs/callback"
BARE: Final = "bare producer from memory"
_OF_BARE: Final = {"4 kB": Target(2.0, at_least=False), "14 kB": Target(1.6, at_least=False)}


def measure(services: Services, size: Size) -> list[Comparison]:
    """Records a second that are durable in Kafka, and CPU."""
    return [row for name, each in SIZES.items() for row in _at(services, size, name, each)]


def batches(gateway: Gateway, each: int, size: Size) -> Load:
    """Posts of 100 callbacks of `each` bytes, on 8 connections."""
    return Load(
        port=gateway.port,
        token=gateway.token,
        connections=CONNECTIONS,
        seconds=size.seconds,
        size=each,
        per_post=PER_POST,
        pool=POOL,
        warm_up=size.seconds / 5,
    )


def _at(services: Services, size: Size, name: str, each: int) -> list[Comparison]:
    ours, bare = list[Posted](), list[Produced]()
    for _ in range(size.rounds):
        with services.topics() as prefix, services.gateway(prefix) as gateway:
            ours.append(post(services, gateway, batches(gateway, each, size)))
        with services.topics() as prefix:
            work = Work(services.bootstrap, prefix, size.seconds, each, POOL, PER_POST)
            bare.append(produced(work))
    what = f"gateway, batches of {PER_POST}, {name}"
    return [
        Comparison(
            what,
            "callbacks/s",
            Figures("one worker, durable 202", tuple(one.per_second for one in ours)),
            Figures(BARE, tuple(one.per_second for one in bare)),
        ),
        Comparison(
            f"{what}: its process",
            CPU,
            Figures("the gateway's process", tuple(one.process for one in ours)),
            Figures(f"{BARE}, its process", tuple(one.cpu for one in bare)),
            _OF_BARE[name],
        ),
        Comparison(
            f"{what}: the broker",
            CPU,
            Figures("behind the gateway", tuple(one.broker for one in ours)),
        ),
    ]
