"""Gateway, batches of 1 on 256 connections, against a server that only reads the body."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from tests.bench.figures import Comparison, Figures, Target
from tests.bench.load import Load
from tests.bench.payloads import SIZES
from tests.bench.posting import Posted, post
from tests.bench.sending import send
from tests.bench.services import ROOT, Gateway, Services, wait_for_http
from tests.bench.sizes import Size
from tests.processes.process import Server, free_port

CONNECTIONS = 256
POOL = 4_000
_TARGET = {"4 kB": Target(0.30)}
_OF_BARE = Target(2.2, at_least=False)
_LATENCY = Target(50, at_least=False, of_ratio=False)


def measure(services: Services, size: Size) -> list[Comparison]:
    """Requests a second, and the latency at half of them."""
    return [row for name, each in SIZES.items() for row in _at(services, size, name, each)]


def _at(services: Services, size: Size, name: str, each: int) -> list[Comparison]:
    ours, bare, waits = list[Posted](), list[Posted](), list[float]()
    for _ in range(size.rounds):
        with services.topics() as prefix, services.gateway(prefix) as gateway:
            ours.append(post(services, gateway, _load(gateway, each, size)))
        with bare_app(services) as app:
            bare.append(post(services, app, _load(app, each, size)))
    half = median(one.per_second for one in ours) / 2
    for _ in range(size.rounds):
        with services.topics() as prefix, services.gateway(prefix) as gateway:
            answered = send(_load(gateway, each, size, half))
            waits.append(answered.p99 * 1_000)
    what = f"gateway, batches of 1, {CONNECTIONS} connections, {name}"
    return [
        Comparison(
            what,
            "requests/s",
            Figures("one worker, durable 202", tuple(one.per_second for one in ours)),
            Figures("bare ASGI app", tuple(one.per_second for one in bare)),
            _TARGET.get(name),
        ),
        Comparison(
            f"{what}: its process",
            "CPU µs/request",
            Figures("the gateway's process", tuple(one.process for one in ours)),
            Figures("bare ASGI app, its process", tuple(one.process for one in bare)),
            _OF_BARE,
        ),
        Comparison(
            f"{what}: the broker",
            "CPU µs/request",
            Figures("behind the gateway", tuple(one.broker for one in ours)),
        ),
        Comparison(
            f"gateway, batches of 1 at half of that rate, {name}: p99",
            "ms",
            Figures("from due to durable 202", tuple(waits)),
            target=_LATENCY,
        ),
    ]


def _load(gateway: Gateway, each: int, size: Size, rate: float = 0) -> Load:
    return Load(
        port=gateway.port,
        token=gateway.token,
        connections=CONNECTIONS,
        seconds=size.seconds,
        size=each,
        pool=POOL,
        rate=rate,
        warm_up=size.seconds / 5,
    )


@contextmanager
def bare_app(services: Services) -> Iterator[Gateway]:
    """The bare app, in the place of a gateway; it asks for no token."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.bare_app", str(port)]
    server = Server("bare app", command, services.directory / f"bare-{port}.log", cwd=ROOT)
    server.start()
    try:
        wait_for_http(server, f"http://127.0.0.1:{port}/", 202)
        yield Gateway(server, port, "none")
    finally:
        server.stop()
