"""A subscriber in Java: what the contract page shows, as a Maven project of its own."""

import json
import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.inputs import captures
from tests.inputs.captures import Calls
from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger
from tests.observers.pages import blocks
from tests.observers.topics import Topics
from tests.processes.process import Server, whole_lines
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
PAGE = "docs/subscribers.md"
RECEIPTS = "billing.receipts.v1"
COMMAND = "mvn compile exec:java -Dexec.mainClass=CostByRun"
MAVEN_SECONDS = 300.0
"""The first time Maven fetches what it needs."""


@pytest.fixture
def subscriber(deployment: Deployment, tmp_path: Path) -> Iterator[Server]:
    """The project of the page, on the deployment's topics and in a group of its own."""
    if lacking := [tool for tool in ("mvn", "java") if shutil.which(tool) is None]:
        pytest.skip(f"there is no {lacking}: the subscriber in Java was not tried")
    (pom,), (program,) = blocks(PAGE, "xml"), blocks(PAGE, "java")
    sources = tmp_path / "src" / "main" / "java"
    sources.mkdir(parents=True)
    (tmp_path / "pom.xml").write_text(pom)
    text = program.replace(f'"{RECEIPTS}"', f'"{deployment.topic(RECEIPTS)}"')
    text = text.replace('"cost-by-run"', f'"tests-{uuid.uuid4().hex}"')
    (sources / "CostByRun.java").write_text(text)
    assert f"`{COMMAND}`" in (ROOT / PAGE).read_text()
    server = Server(
        "the subscriber",
        ["mvn", "--batch-mode", "--quiet", *COMMAND.split()[1:]],
        tmp_path / "subscriber.log",
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": deployment.bootstrap},
        cwd=tmp_path,
    )
    server.start()
    yield server
    server.stop()


def test_the_subscriber_in_java_has_the_cost_of_each_run_to_the_last_digit(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls, subscriber: Server
) -> None:
    runs = [calls.name("run") for _ in range(3)]
    costs = ("1.25e-06", "0.00033000000000000005", "12")
    elements = [
        calls.with_cost(cost, metadata={"spend_logs_metadata": {"run_id": run}}).element
        for run in runs
        for cost in costs
    ]
    for _ in range(2):
        deployment.accept(captures.array(elements))
    topics.wait_until_consumed()
    charged = defaultdict[str, Decimal](Decimal)
    for run in runs:
        for row in ledger.receipts(run_id=run):
            charged[run] += row["charged_usd"]
    assert len(charged) == len(runs)

    def sums() -> dict[str, Decimal]:
        subscriber.check()
        lines = [line for line in whole_lines(subscriber.log) if line.startswith("{")]
        return {told["run"]: Decimal(told["usd"]) for told in map(json.loads, lines)}

    eventually(
        lambda: {run: sums().get(run) for run in runs} == charged,
        f"the subscriber to have the sums {charged}",
        MAVEN_SECONDS,
    )
