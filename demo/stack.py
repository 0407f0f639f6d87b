"""What a stack is made of: which processes, in which order, with which environment."""

import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from demo import own
from demo.broker import Broker
from demo.database import Database
from demo.groups import Groups
from demo.loopback import Ports, address, answers
from demo.process import Service, inherited
from demo.proxy import Proxy
from demo.settings import CONSUMER_GROUP, ROOT, StackSettings
from demo.state import RunDirectory

PLUGIN_SETTINGS = frozenset({
    "SPEND_GUARD_BREAKER_FAILURES",
    "SPEND_GUARD_BREAKER_SECONDS",
    "SPEND_GUARD_FAIL",
    "SPEND_GUARD_PLENTY_SECONDS",
    "SPEND_GUARD_TIMEOUT_MS",
    "SPEND_GUARD_TOKEN",
})  # fmt: skip
"""What the proxy's plugin reads; the spend guard refuses what it does not know."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Services in the order in which they may start; they stop in the reverse order.

    `environment` is what callers need to reach the stack, and last the `mark` of what in it is
    the stack's own. `ports` keeps them from other stacks. `database` is the embedded one, still
    to be prepared, and `groups` are those of the embedded broker; None when the caller gave one.
    """

    services: tuple[Service, ...]
    environment: dict[str, str]
    database: Database | None
    ports: Ports
    groups: Groups | None = None

    def needed(self, name: str) -> frozenset[str]:
        """Return all that a service of this stack needs, itself or through what it needs."""
        needs = {service.name: service.needs for service in self.services}
        found, left = set[str](), list(needs[name])
        while left:
            one = left.pop()
            if one not in found:
                found.add(one)
                left += needs[one]
        return frozenset(found)


@dataclass(frozen=True, kw_only=True)
class _Addresses:
    gateway: str
    gateway_metrics: str
    consumer_metrics: str
    spend_guard: str
    spend_guard_metrics: str


def compose(settings: StackSettings, directory: RunDirectory, *, litellm: bool) -> Stack:
    """Choose ports and secrets and put the stack together; starts nothing.

    Args:
        settings: what the caller's environment gives or asks for.
        directory: where embedded data and generated files go.
        litellm: also a LiteLLM proxy and the loopback provider behind it.

    Raises:
        StackError: when no port is free, when root finds no place for the embedded database, or
            when there is nothing to install the LiteLLM proxy with.
    """
    base, ports = inherited(), Ports()
    database = broker = groups = None
    if not settings.database_url:
        database = Database(directory.data / "postgres", ports.take())
    if not settings.kafka_bootstrap_servers:
        broker = Broker(directory.data / "kafka", ports.take(), ports.take())
        groups = Groups(broker.port, base.get("CONSUMER_GROUP") or CONSUMER_GROUP)
    addresses = _addresses(settings, ports)
    environment = {
        "GATEWAY_URL": f"http://{addresses.gateway}",
        "GATEWAY_METRICS_URL": f"http://{addresses.gateway_metrics}",
        "CONSUMER_METRICS_URL": f"http://{addresses.consumer_metrics}",
        "SPEND_GUARD_URL": f"http://{addresses.spend_guard}",
        "SPEND_GUARD_METRICS_URL": f"http://{addresses.spend_guard_metrics}",
        "SPEND_GUARD_TOKENS": settings.spend_guard_tokens or secrets.token_urlsafe(32),
        "SPEND_GUARD_ADMIN_TOKENS": settings.spend_guard_admin_tokens or secrets.token_urlsafe(32),
        "BILLING_INGEST_TOKEN": settings.billing_ingest_token or secrets.token_urlsafe(32),
        "DATABASE_URL": database.url if database else settings.database_url or "",
        "KAFKA_BOOTSTRAP_SERVERS": (
            broker.bootstrap_servers if broker else settings.kafka_bootstrap_servers or ""
        ),
    }
    services = tuple(part.service(base) for part in (database, broker) if part is not None)
    spool = {"GATEWAY_SPOOL_DIR": str(settings.gateway_spool_dir or directory.spool)}
    on_death = groups.release if groups else None
    services += _rooms({**base, **environment, **spool}, addresses, services, on_death)
    if litellm:
        proxy = Proxy(settings, directory, environment, ports)
        services += proxy.services(base)
        environment |= proxy.environment()
    given = {name.upper() for name, value in settings if value is not None}
    environment[own.MARK] = own.mark(environment, environment.keys() - given)
    return Stack(
        services=services, environment=environment, database=database, ports=ports, groups=groups
    )


def _addresses(settings: StackSettings, ports: Ports) -> _Addresses:
    def choose(host: str, port: int | None) -> str:
        return address(host, ports.take(port))

    return _Addresses(
        gateway=choose(settings.gateway_host, settings.gateway_port),
        gateway_metrics=choose(settings.gateway_metrics_host, settings.gateway_metrics_port),
        consumer_metrics=choose(settings.consumer_metrics_host, settings.consumer_metrics_port),
        spend_guard=choose(settings.spend_guard_host, settings.spend_guard_port),
        spend_guard_metrics=choose(
            settings.spend_guard_metrics_host, settings.spend_guard_metrics_port
        ),
    )


def _port_settings(addresses: _Addresses) -> dict[str, str]:
    port_of = {
        "GATEWAY_PORT": addresses.gateway,
        "GATEWAY_METRICS_PORT": addresses.gateway_metrics,
        "CONSUMER_METRICS_PORT": addresses.consumer_metrics,
        "SPEND_GUARD_PORT": addresses.spend_guard,
        "SPEND_GUARD_METRICS_PORT": addresses.spend_guard_metrics,
    }
    return {name: where.rpartition(":")[2] for name, where in port_of.items()}


def _rooms(
    environment: Mapping[str, str],
    addresses: _Addresses,
    embedded: tuple[Service, ...],
    on_death: Callable[[], None] | None,
) -> tuple[Service, ...]:
    """Return the project's jobs and rooms: what is stopped last stands first.

    `on_death` is called when a consumer was killed, before the next one starts.
    """
    there = frozenset(service.name for service in embedded)
    complete = {**environment, **_port_settings(addresses)}

    def job(name: str, *options: str, needs: frozenset[str]) -> Service:
        return Service(
            name=name,
            command=(sys.executable, "-m", "consumer", *options),
            environment=complete,
            directory=ROOT,
            needs=needs,
        )

    def room(name: str, module: str, where: str, probe: str, needs: frozenset[str]) -> Service:
        return Service(
            name=name,
            command=(sys.executable, "-m", module, "run"),
            environment=complete,
            directory=ROOT,
            needs=needs,
            ready=answers(f"http://{probe}/readyz"),
            stop_seconds=30,
            address=where,
            restarts=True,
        )

    metrics = addresses.consumer_metrics
    after_both = frozenset({"migrate", "topics"})
    guard = room(
        "spend-guard",
        "spend_guard",
        addresses.spend_guard,
        addresses.spend_guard_metrics,
        frozenset({"migrate"}),
    )
    known = {name: value for name, value in complete.items() if name not in PLUGIN_SETTINGS}
    return (
        job("migrate", "migrate", needs=there & {"postgres"}),
        job("topics", "topics", "--apply", needs=there & {"kafka"}),
        replace(room("consumer", "consumer", metrics, metrics, after_both), on_death=on_death),
        replace(guard, environment=known),
        room(
            "gateway",
            "producer_gateway",
            addresses.gateway,
            addresses.gateway_metrics,
            frozenset({"topics"}),
        ),
    )
