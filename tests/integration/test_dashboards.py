"""Every panel of the dashboards, asked of a real Prometheus and PostgreSQL over running rooms."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
from prometheus_client import CollectorRegistry, start_http_server

from tests.databases import credits as sql
from tests.doubles.asking_proxy import AskingProxy
from tests.doubles.litellm_stub import Router, loaded
from tests.inputs.callbacks import element
from tests.inputs.made_calls import calls
from tests.processes.consuming import Consuming
from tests.processes.guarding import SpendGuard
from tests.processes.prometheus import Prometheus
from tests.processes.reconciling import Reconciling
from tests.waiting import eventually

BOARDS: Final = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
HOUR: Final = timedelta(hours=1)
EMPTY: Final = {"The last audit, by what became of the rows"}
"""Panels without a value until a day has been audited."""


@pytest.fixture
def installation(consuming: Consuming) -> Iterator[Reconciling]:
    """A spend log, a gateway and a consumer."""
    with closing(Reconciling(consuming)) as made:
        made.start_gateway()
        yield made


def panels() -> list[dict[str, Any]]:
    """The panels of all dashboards."""
    boards = [json.loads(path.read_text()) for path in sorted(BOARDS.glob("*.json"))]
    return [one for board in boards for one in board["panels"] if one["type"] != "row"]


@contextmanager
def proxy_without_guard() -> Iterator[tuple[AskingProxy, str]]:
    """A proxy whose guard does not answer, and where its metrics are."""
    with loaded({}, Router()) as plugin:
        proxy = AskingProxy(plugin)
        proxy.guard.fault = httpx.ConnectError("away")
        # Not with what the rooms count that these tests import.
        own = CollectorRegistry()
        own.register(plugin.OUTCOMES)
        server, thread = start_http_server(0, "127.0.0.1", own)
        try:
            yield proxy, f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
            proxy.loop.run_until_complete(proxy.plugin._connection().aclose())  # noqa: SLF001 - it has no end of its own
            proxy.loop.close()


def credits_are_asked_for(guard: SpendGuard, proxy: AskingProxy, round_: int) -> None:
    """What the panels of credits count: holds and refusals, and a guard that is away."""
    call = f"credits-{round_}"
    assert guard.ask("acct", call, 20, expires_in_seconds=1).status_code == 200
    assert guard.ask("acct", f"{call}-dear", 1_000).status_code == 402
    proxy.call()


def everything_happens(installation: Reconciling, round_: int) -> None:
    """What the panels count: odd callbacks, refusals, lost calls, an amount that differs."""
    gateway = installation.gateway
    name = f"odd-{round_}"
    odd = [
        element(id=name, litellm_call_id=name, response_cost=0),
        element(id=f"{name}-none", litellm_call_id=f"{name}-none", response_cost=None),
        element(id=f"{name}-text", litellm_call_id=f"{name}-text", response_cost="dear"),
        element(id=f"{name}-bad", status=None),
        element(id=f"{name}-nobody", litellm_call_id=f"{name}-nobody", end_user=None, metadata={}),
        element(id="same", litellm_call_id="same", response_cost=0.001 * (round_ + 1)),
    ]
    made = list(calls(10, HOUR, first=10 * round_))
    installation.table.accept([{**made[0], "response_cost": 9.0}, *made[1:]])
    arrived = [json.dumps(one).encode() for one in made[:8]]
    assert gateway.post(b"[" + b",".join([*arrived, *odd]) + b"]").status_code == 202
    assert gateway.post(b"{broken").status_code == 202
    assert gateway.post(b"").status_code == 400
    assert gateway.post(b"[]", "/v1/nothing").status_code == 404
    assert gateway.post(b"[]", headers={"authorization": "Bearer x"}).status_code == 401


def test_every_panel_shows_what_happens(
    prometheus: Prometheus, installation: Reconciling, tmp_path: Path
) -> None:
    guard = SpendGuard(installation.consuming.database_url, tmp_path)
    with guard.running(), proxy_without_guard() as (proxy, metrics):
        sql.opened(installation.consuming.database_url, "acct", 100)
        prometheus.scrapes("billing-spend-guard", [guard.metrics_url.removeprefix("http://")])
        prometheus.scrapes("litellm", [metrics])
        every_panel(prometheus, installation, partial(credits_are_asked_for, guard, proxy))


def every_panel(
    prometheus: Prometheus, installation: Reconciling, more: Callable[[int], None]
) -> None:
    """See that each has values; `more` happens beside what the gateway gets."""
    consuming = installation.consuming
    member = consuming.member(CONSUMER_DEAD_LETTER_SHARE="1")
    reconciler = installation.start()
    for job, url in (
        ("billing-gateway", installation.gateway.metrics_url),
        ("billing-consumer", member.metrics_url),
        ("billing-reconciler", reconciler.metrics_url),
    ):
        prometheus.scrapes(job, [url.removeprefix("http://")])
    prometheus.start()
    try:
        # A rate needs a value before and one after.
        everything_happens(installation, 0)
        more(0)
        seen = 'billing_consumer_records_total{outcome="conflict"}'
        everything_happens(installation, 1)
        more(1)
        eventually(lambda: prometheus.values(seen), "a conflict")
        everything_happens(installation, 2)
        more(2)
        consuming.all_committed()
        for panel in panels():
            for target in panel["targets"]:
                if "expr" in target:
                    answers(prometheus, panel["title"], target)
    finally:
        prometheus.stop()
    for panel in panels():
        for target in panel["targets"]:
            if "rawSql" in target:
                shown = partial(rows, consuming.database_url, target["rawSql"])
                eventually(shown, panel["title"])


def answers(prometheus: Prometheus, title: str, target: dict[str, Any]) -> None:
    """Wait until a query has values, or see that it has none where none can be yet."""
    query = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "10m")
    found = prometheus.values(query)
    if title in EMPTY:
        assert not found, f"{title}: {query} has values: take it out of EMPTY"
    else:
        eventually(lambda: prometheus.values(query), f"{title}: {query}")


def rows(database_url: str, text: str) -> list[tuple[Any, ...]]:
    """What a query of Grafana shows to a user who may only read."""
    start, end = "(now() - interval '6 hours')", "(now() + interval '1 minute')"
    asked = text.replace("$__timeFilter(started_at)", f"started_at BETWEEN {start} AND {end}")
    asked = asked.replace("$__timeFrom()", start).replace("$__timeTo()", end)
    assert "$__" not in asked
    with psycopg.connect(database_url) as connection:
        connection.execute("SET ROLE billing_reader")
        return connection.execute(asked.encode()).fetchall()
