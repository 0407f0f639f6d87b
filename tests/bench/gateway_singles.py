"""Gateway, batches of 1 on 256 connections, against a server that only reads the body."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from tests.bench.figures import Comparison, Figures, Target
from tests.bench.load import Load
from tests.bench.payloads import SIZES
from tests.bench.sending import send
from tests.bench.services import ROOT, Services, wait_for_http
from tests.bench.sizes import Size
from tests.processes.process import Server, free_port

CONNECTIONS = 256
POOL = 4_000
_TARGET = {"4 kB": Target(0.30)}
_LATENCY = Target(50, at_least=False, of_ratio=False)


def measure(services: Services, size: Size) -> list[Comparison]:
    """Requests a second, and the latency at half of them."""
    return [row for name, each in SIZES.items() for row in _at(services, size, name, each)]


def _at(services: Services, size: Size, name: str, each: int) -> list[Comparison]:
    ours, bare, waits = list[float](), list[float](), list[float]()
    for _ in range(size.rounds):
        with services.topics() as prefix, services.gateway(prefix) as gateway:
            ours.append(send(_load(gateway.port, gateway.token, each, size)).per_second)
        with bare_app(services) as port:
            bare.append(send(_load(port, "none", each, size)).per_second)
    half = median(ours) / 2
    for _ in range(size.rounds):
        with services.topics() as prefix, services.gateway(prefix) as gateway:
            answered = send(_load(gateway.port, gateway.token, each, size, half))
            waits.append(answered.p99 * 1_000)
    return [
        Comparison(
            f"gateway, batches of 1, {CONNECTIONS} connections, {name}",
            "requests/s",
            Figures("one worker, durable 202", tuple(ours)),
            Figures("bare ASGI app", tuple(bare)),
            _TARGET.get(name),
        ),
        Comparison(
            f"gateway, batches of 1 at half of that rate, {name}: p99",
            "ms",
            Figures("from due to durable 202", tuple(waits)),
            target=_LATENCY,
        ),
    ]


def _load(port: int, token: str, each: int, size: Size, rate: float = 0) -> Load:
    return Load(
        port=port,
        token=token,
        connections=CONNECTIONS,
        seconds=size.seconds,
        size=each,
        pool=POOL,
        rate=rate,
        warm_up=size.seconds / 5,
    )


@contextmanager
def bare_app(services: Services) -> Iterator[int]:
    """The bare app, served on the port that this yields."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.bare_app", str(port)]
    server = Server("bare app", command, services.directory / f"bare-{port}.log", cwd=ROOT)
    server.start()
    try:
        wait_for_http(server, f"http://127.0.0.1:{port}/", 202)
        yield port
    finally:
        server.stop()
