"""Every panel of the dashboards, asked of a real Prometheus and PostgreSQL over running rooms."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.observers.panels import asked, panels, rows
from tests.processes.consuming import Consuming
from tests.processes.prometheus import Prometheus
from tests.processes.reconciling import Reconciling
from tests.processes.scene import scraped_scene
from tests.waiting import eventually

EMPTY: Final = {"The last audit, by what became of the rows"}
"""Panels without a value until a day has been audited."""


@pytest.fixture
def installation(consuming: Consuming) -> Iterator[Reconciling]:
    """A spend log, a gateway and a consumer."""
    with closing(Reconciling(consuming)) as made:
        made.start_gateway()
        yield made


def test_every_panel_shows_what_happens(
    prometheus: Prometheus, installation: Reconciling, tmp_path: Path
) -> None:
    consuming = installation.consuming
    with scraped_scene(prometheus, installation, tmp_path) as scene:
        # A rate needs a value before and one after.
        scene.happens(0)
        scene.happens(1)
        seen = 'billing_consumer_records_total{outcome="conflict"}'
        eventually(lambda: prometheus.values(seen), "a conflict")
        scene.happens(2)
        consuming.all_committed()
        for panel in panels():
            for target in panel["targets"]:
                if "expr" in target:
                    answers(prometheus, panel["title"], target)
    for panel in panels():
        for target in panel["targets"]:
            if "rawSql" in target:
                text = target["rawSql"]
                eventually(partial(shown, consuming.database_url, text), panel["title"])


def shown(database_url: str, text: str) -> list[tuple[Any, ...]]:
    """The rows that a table shows."""
    return rows(database_url, text)[1]


def answers(prometheus: Prometheus, title: str, target: dict[str, Any]) -> None:
    """Wait until a query has values, or see that it has none where none can be yet."""
    query = asked(target["expr"])
    found = prometheus.values(query)
    if title in EMPTY:
        assert not found, f"{title}: {query} has values: take it out of EMPTY"
    else:
        eventually(lambda: prometheus.values(query), f"{title}: {query}")
