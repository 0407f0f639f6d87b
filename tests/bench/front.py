"""What stands in front of the gateway's endpoints: CPU time of a request, without a network.

`python -m tests.bench.front`
"""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from producer_gateway.app import Gateway
from producer_gateway.routes import CALLBACKS_PATH, USAGE_UNITS_PATH, application
from tests.doubles.memory_gateway import ONE, TOKEN, MemoryGateway
from tests.inputs.callbacks import usage_unit

_ROUNDS: Final = 21
_REQUESTS: Final = 500
_MICROSECONDS: Final = 1_000_000

Case: TypeAlias = tuple[ASGIApp, str, bytes]


def alone(endpoint: Callable[[Request], Awaitable[ASGIApp]]) -> ASGIApp:
    """Return an application that has this endpoint and nothing in front of it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (await endpoint(Request(scope, receive)))(scope, receive, send)

    return app


def cases(gateway: Gateway) -> Mapping[str, Case]:
    """Return what is measured: an application, a path and a body, by name."""
    served, unit = application(gateway), json.dumps(usage_unit()).encode()
    return {
        "callbacks, the endpoint alone": (alone(gateway.callbacks), CALLBACKS_PATH, ONE),
        "callbacks, as they are served": (served, CALLBACKS_PATH, ONE),
        "usage units, the endpoint alone": (alone(gateway.usage_units), USAGE_UNITS_PATH, unit),
        "usage units, as they are served": (served, USAGE_UNITS_PATH, unit),
    }


async def _request(app: ASGIApp, path: str, body: bytes) -> None:
    headers = [
        (b"authorization", f"Bearer {TOKEN}".encode()),
        (b"content-length", str(len(body)).encode()),
    ]
    scope: dict[str, object] = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": headers,
        "state": {},
    }
    statuses = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        statuses.append(message.get("status"))

    await app(scope, receive, send)
    assert statuses[0] == 202, statuses


async def measure() -> dict[str, float]:
    """Return the microseconds of CPU of a request, by case: the median of interleaved rounds."""
    double = MemoryGateway()
    measured = cases(double.gateway)
    taken = dict[str, list[float]]({name: [] for name in measured})
    for _ in range(_ROUNDS):
        for name, case in measured.items():
            await _request(*case)  # whatever is made at the first request
            before = time.thread_time()
            for _ in range(_REQUESTS):
                await _request(*case)
            spent = (time.thread_time() - before) / _REQUESTS
            taken[name].append(spent * _MICROSECONDS)
            double.store.records.clear()
    return {name: statistics.median(figures) for name, figures in taken.items()}


if __name__ == "__main__":
    for name, microseconds in asyncio.run(measure()).items():
        print(f"{microseconds:6.0f} µs: {name}")
