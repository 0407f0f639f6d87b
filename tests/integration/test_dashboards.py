"""Every panel of the dashboards, asked of a real Prometheus and PostgreSQL over running rooms."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from tests.inputs.callbacks import element
from tests.inputs.made_calls import calls
from tests.processes.consuming import Consuming
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


def test_every_panel_shows_what_happens(prometheus: Prometheus, installation: Reconciling) -> None:
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
        seen = 'billing_consumer_records_total{outcome="conflict"}'
        everything_happens(installation, 1)
        eventually(lambda: prometheus.values(seen), "a conflict")
        everything_happens(installation, 2)
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
