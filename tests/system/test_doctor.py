"""`billing doctor` on an installation that works, and on parts that are set up wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger
from tests.observers.topics import Topics
from tests.waiting import NET_SECONDS

ROOT = Path(__file__).parents[2]
TRIAL = "billing-self-test"
# As for all calls to a real proxy: its interpreter was seen to crash.
pytestmark = pytest.mark.flaky(reruns=2, only_rerun=["ProxyAwayError"])


class ProxyAwayError(AssertionError):
    """The proxy does not answer at all."""


def doctor(
    deployment: Deployment, *options: str, **changed: str
) -> tuple[int, dict[str, list[tuple[str, str]]]]:
    """Exit code of `billing doctor`, and what it found of each part."""
    environment = {
        "PATH": os.environ["PATH"],
        "LITELLM_URL": deployment.litellm_url,
        "LITELLM_API_KEY": deployment.litellm_key,
        "GATEWAY_URL": deployment.gateway_url,
        "BILLING_INGEST_TOKEN": deployment.token,
        "KAFKA_BOOTSTRAP_SERVERS": deployment.bootstrap,
        "DATABASE_URL": deployment.database_url,
        "BILLING_TOPIC_PREFIX": deployment.topic(""),
        "CONSUMER_GROUP": deployment.group,
        **changed,
    }
    done = subprocess.run(
        [sys.executable, "-m", "operator_cli", "doctor", "--json", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
    )
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, list[tuple[str, str]]] = {}
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    for row in rows:
        found.setdefault(row["part"], []).append((row["state"], row["found"]))
    return done.returncode, found


def test_an_installation_that_works_has_no_fault(deployment: Deployment, topics: Topics) -> None:
    if not deployment.litellm_url:
        pytest.skip("the deployment names no LITELLM_URL and LITELLM_MASTER_KEY")
    before = topics.ends("billing.callbacks.v1")
    code, found = doctor(deployment)
    if "does not answer" in found["LiteLLM"][0][1]:
        raise ProxyAwayError(found["LiteLLM"])
    assert code == 0, found
    said = {
        part: [words for state, words in some if state == "fine"] for part, some in found.items()
    }
    assert said["LiteLLM"][1:] == ["a generic_api callback is registered"]
    assert said["gateway"] == ["it stored a self-test callback, which costs nothing"]
    assert said["PostgreSQL"] == ["the schema is up to date"]
    assert "all topics are there, as declared" in said["Kafka"]
    assert " has 1 member(s), and " in said["consumer"][0]

    posted = [
        record
        for record in topics.since("billing.callbacks.v1", before)
        if b'"billing-doctor-' in record.value
    ]
    assert len(posted) == 1


def test_a_call_that_costs_nothing_gets_its_receipt_under_an_account_of_its_own(
    deployment: Deployment, ledger: Ledger
) -> None:
    before = len(ledger.receipts(billing_account_id=TRIAL))
    code, found = doctor(deployment, "--receipt", LITELLM_URL="")
    assert code == 0, found
    [(state, said)] = found["receipt"]
    assert (state, said[:37]) == ("fine", "a call that costs nothing has one, af")
    written = ledger.receipts(billing_account_id=TRIAL)
    assert len(written) == before + 1
    assert {(row["charged_credits"], row["charge_reason"]) for row in written} == {(0, "cache_hit")}


def test_a_call_without_a_receipt_is_a_fault(deployment: Deployment) -> None:
    # Another source has no such token: nothing gets to the consumer.
    wrong = {"BILLING_INGEST_TOKEN": "wrong" * 8, "LITELLM_URL": ""}
    code, found = doctor(deployment, "--receipt", **wrong)
    assert code == 1
    assert found["receipt"] == [("fault", "the gateway answers a call that costs nothing with 401")]


@pytest.mark.parametrize(
    ("changed", "part", "said"),
    [
        ({"BILLING_INGEST_TOKEN": "wrong" * 8}, "gateway", "it refuses the token"),
        ({"LITELLM_API_KEY": "sk-wrong"}, "LiteLLM", "the key is refused"),
        ({"GATEWAY_URL": "http://127.0.0.1:9"}, "gateway", "http://127.0.0.1:9 does not answer"),
        ({"CONSUMER_GROUP": "nobody"}, "consumer", "the group nobody has no member"),
        ({"BILLING_TOPIC_PREFIX": "none."}, "Kafka", "missing topics: none.billing.callbacks.v1"),
    ],
    ids=["token", "key", "gateway", "group", "topics"],
)
def test_what_is_set_up_wrong_is_named(
    deployment: Deployment, changed: dict[str, str], part: str, said: str
) -> None:
    if not deployment.litellm_url:
        pytest.skip("the deployment names no LITELLM_URL and LITELLM_MASTER_KEY")
    code, found = doctor(deployment, **changed)
    assert code == 1
    faults = [words for state, words in found[part] if state == "fault"]
    assert len(faults) == 1
    assert faults[0].startswith(said)
