"""What one would use instead: the programs in `alternatives/`, and how they are started."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

from tests.bench import writing
from tests.bench.committing import Committed, Start, commit
from tests.bench.payloads import Payloads
from tests.bench.services import Gateway, Services, wait_for_http
from tests.processes.process import Server, free_port

_MODULES: Final = "tests.bench.alternatives"


@dataclass(frozen=True)
class Other:
    """A consumer: its name in tables, how it is started, what makes its database."""

    name: str
    start: Callable[[Services], Start]
    database: Callable[[Services], AbstractContextManager[str]]
    has_metrics: bool = False


def _ours(services: Services) -> Start:
    def start(prefix: str, url: str, group: str, port: int) -> AbstractContextManager[Server]:
        return services.consumer(prefix, url, group, metrics_port=port)

    return start


def _other(module: str) -> Callable[[Services], Start]:
    def starts(services: Services) -> Start:
        def start(prefix: str, url: str, group: str, _port: int) -> AbstractContextManager[Server]:
            settings = {"DATABASE_URL": url, "CONSUMER_GROUP": group}
            return services.program(f"{_MODULES}.{module}", prefix, settings)

        return start

    return starts


OURS: Final = Other("this consumer", _ours, Services.database, has_metrics=True)
PLAIN: Final = Other("plain consumer, orjson", _other("plain_consumer"), writing.yardstick)
EXACT: Final = Other("plain consumer, exact", _other("exact_consumer"), writing.yardstick)
MANY: Final = Other(
    "plain consumer, exact, executemany", _other("executemany_consumer"), writing.yardstick
)
CONSUMERS: Final = (PLAIN, EXACT, MANY)


def committed(
    services: Services, other: Other, url: str, payloads: Payloads, count: int
) -> Committed:
    """Have it commit `count` callbacks into an empty database; see `committing.commit`."""
    start = other.start(services)
    return commit(services, url, start, payloads, count, has_metrics=other.has_metrics)


@contextmanager
def fastapi_gateway(services: Services, prefix: str) -> Iterator[Gateway]:
    """FastAPI, orjson and confluent-kafka in the place of a gateway, ready."""
    port, token = free_port(), secrets.token_urlsafe(32)
    settings = {"GATEWAY_PORT": str(port), "BILLING_INGEST_TOKEN": token}
    with services.program(f"{_MODULES}.fastapi_gateway", prefix, settings) as process:
        wait_for_http(process, f"http://127.0.0.1:{port}/readyz", 200)
        yield Gateway(process, port, token)
