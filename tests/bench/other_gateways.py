"""Our gateway against one that one would write instead, posts of 100."""

from tests.bench.figures import Comparison, Figures, Target
from tests.bench.gateway_batches import CPU, PER_POST, batches
from tests.bench.others import fastapi_gateway
from tests.bench.payloads import SIZES
from tests.bench.posting import Posted, post
from tests.bench.services import Services
from tests.bench.sizes import Size

_OURS = "this gateway"
_THEIRS = "FastAPI, orjson, confluent-kafka"
_OF_THEIRS = {"4 kB": Target(0.33, at_least=False), "14 kB": Target(0.25, at_least=False)}


def measure(services: Services, size: Size) -> list[Comparison]:
    """CPU of the process, CPU with the broker's, and callbacks a second."""
    return [row for name, each in SIZES.items() for row in _at(services, size, name, each)]


def _at(services: Services, size: Size, name: str, each: int) -> list[Comparison]:
    ours, theirs = list[Posted](), list[Posted]()
    for _ in range(size.rounds):
        with services.topics() as prefix, services.gateway(prefix) as gateway:
            ours.append(post(services, gateway, batches(gateway, each, size)))
        with services.topics() as prefix, fastapi_gateway(services, prefix) as gateway:
            theirs.append(post(services, gateway, batches(gateway, each, size)))
    what = f"HTTP to Kafka, posts of {PER_POST}, {name}"
    return [
        Comparison(
            f"{what}: the process",
            CPU,
            Figures(_OURS, tuple(one.process for one in ours)),
            Figures(_THEIRS, tuple(one.process for one in theirs)),
            _OF_THEIRS[name],
        ),
        Comparison(
            f"{what}: the process and the broker",
            CPU,
            Figures(_OURS, tuple(one.process + one.broker for one in ours)),
            Figures(_THEIRS, tuple(one.process + one.broker for one in theirs)),
        ),
        Comparison(
            what,
            "callbacks/s",
            Figures(_OURS, tuple(one.per_second for one in ours)),
            Figures(_THEIRS, tuple(one.per_second for one in theirs)),
        ),
    ]
