"""`billing explain` tells the truth of calls of every fate, from POST to receipt."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from charging.outcomes import DeferredReason
from tests.inputs import background
from tests.inputs.callbacks import element
from tests.processes.consuming import Consuming
from tests.processes.gateway import Gateway

RUN = {"spend_logs_metadata": {"run_id": "run-x", "attempt": 3, "sub_agent_id": "writer"}}
BACKGROUND = {"created_at": background.CREATED_AT + 100}


def call(name: str, **fields: object) -> bytes:
    """A paid call of run-x under ids of its own."""
    ids = {"id": f"resp-{name}", "litellm_call_id": f"call-{name}", "metadata": RUN}
    return element(**{**ids, **fields})


CALLS = {
    "receipt": call("receipt"),
    "duplicate": call("duplicate"),
    "conflict": call("conflict"),
    "suspicious_zero": call("suspicious_zero", response_cost=0.0),
    "missing_cost": call("missing_cost", response_cost=None),
    "unusable_cost": call("unusable_cost", response_cost=-0.5),
    "awaiting_result": background.create(litellm_call_id="call-awaiting_result"),
    "awaiting_create": background.read(
        litellm_call_id="call-awaiting_create",
        id="resp-awaiting_create",
        response=background.response("completed", **BACKGROUND),
    ),
    "ambiguous_read": background.read(
        litellm_call_id="call-ambiguous_read", id="resp-ambiguous_read", response=...
    ),
    "skipped": call("skipped", status="failure", response_cost=0.0),
    "parked": call("parked", status=None),
    "unattributed": call("unattributed", metadata={}, end_user=None),
}
DEFERRED = tuple(DeferredReason)
"""A new reason needs a call of its own above."""
AGAIN = [CALLS["duplicate"], CALLS["duplicate"], call("conflict", response_cost=0.7)]


@pytest.fixture
def explained(kafka: str, topic_prefix: str, consuming: Consuming) -> Iterator[Consuming]:
    """All of them through a gateway, Kafka and a consumer."""
    gateway = Gateway(kafka, topic_prefix, consuming.directory)
    member = consuming.member()
    with gateway.running():
        for body in (list(CALLS.values()), AGAIN):
            answer = gateway.post(b"[" + b",".join(body) + b"]")
            assert answer.json()["accepted"] == len(body)
    consuming.all_committed()
    yield consuming
    assert member.end() == 0


def said_of(explained: Consuming, name: str) -> dict[str, Any]:
    """What is said of the one call that `name` means."""
    told = json.loads(explained.command("explain", name, "--json"))
    assert told["found"]
    [one] = told["calls"]
    assert isinstance(one, dict)
    return one


def sentence(one: dict[str, Any]) -> str:
    """What is said to people."""
    return " ".join(one["says"])


def test_explain_tells_the_truth_of_calls_of_every_fate(explained: Consuming) -> None:
    receipt = said_of(explained, "call-receipt")
    assert (receipt["outcome"], receipt["reason"]) == ("receipt", "usage")
    assert (receipt["duplicates"], receipt["conflicts"]) == (0, [])
    assert receipt["receipt"]["charged_usd"] == "0.000036"
    assert receipt["receipt"]["charged_credits"] == "360"
    assert (receipt["run"], receipt["attempt"], receipt["agent"]) == ("run-x", 3, "writer")
    assert "Charged 0.000036 USD (360 credits) to account acct-1" in sentence(receipt)
    assert said_of(explained, "resp-receipt")["receipt"]["id"] == receipt["receipt"]["id"]
    assert said_of(explained, receipt["call_key"])["receipt"]["id"] == receipt["receipt"]["id"]
    assert said_of(explained, receipt["receipt"]["id"])["outcome"] == "receipt"

    duplicate = said_of(explained, "call-duplicate")
    assert (duplicate["outcome"], duplicate["duplicates"]) == ("receipt", 2)
    assert [one["outcome"] for one in duplicate["callbacks"]] == [
        *("receipt", "duplicate", "duplicate")
    ]
    conflict = said_of(explained, "call-conflict")
    assert (conflict["outcome"], conflict["duplicates"]) == ("receipt", 0)
    assert [row["response_cost_usd"] for row in conflict["conflicts"]] == ["0.7"]
    assert "contradicts the receipt: 0.7 USD" in sentence(conflict)

    for reason in DEFERRED:
        deferred = said_of(explained, f"call-{reason}")
        assert (deferred["outcome"], deferred["reason"]) == ("deferred", reason)
        assert deferred["receipt"] is None
        assert deferred["deferral"]["resolved_at"] is None
        assert "billing deferred" in sentence(deferred)
        assert [one["outcome"] for one in deferred["callbacks"]] == ["deferred"]

    skipped = said_of(explained, "call-skipped")
    assert (skipped["outcome"], skipped["reason"]) == ("skipped", "failed_call")
    assert "the call failed and cost nothing" in sentence(skipped)
    parked = said_of(explained, "call-parked")
    assert (parked["outcome"], parked["reason"]) == ("parked", "contract_broken")
    [letter] = parked["dead_letters"]
    assert f"billing dead-letters show {letter['at']}" in sentence(parked)
    unattributed = said_of(explained, "call-unattributed")
    assert unattributed["receipt"]["billing_account_id"] == "unattributed"
    assert "BILLING_UNATTRIBUTED_ACCOUNT" in sentence(unattributed)

    code, told = explained.tried("explain", "call-nobody", "--json")
    assert code == 1
    assert "Nothing is known of 'call-nobody'" in told
    assert "Searched the whole" in told


def test_explain_says_what_it_cannot_know(explained: Consuming) -> None:
    code, said = explained.tried("explain", "call-skipped", KAFKA_BOOTSTRAP_SERVERS="")
    assert code == 1
    assert "Nothing is known of 'call-skipped'" in said
    assert "skipped calls and duplicate callbacks leave no row" in said
    alone = json.loads(
        explained.command("explain", "call-duplicate", "--json", KAFKA_BOOTSTRAP_SERVERS="")
    )
    assert alone["calls"][0]["duplicates"] is None
    assert alone["kafka"]["searched"] is False
    # The bound is said, and what lies behind it is not claimed to be missing.
    code, said = explained.tried("explain", "call-skipped", "--scan-limit", "1")
    assert code == 1
    assert "to search the others" in said


def test_a_run_is_told_call_by_call_and_a_settled_call_with_who_settled_it(
    explained: Consuming,
) -> None:
    explained.command("deferred", "waive", "call-missing_cost", "--note", "ours", "--by", "ada")
    told = json.loads(explained.command("explain", "run-x", "--json"))
    outcomes = {one["litellm_call_id"] or one["call_key"]: one["outcome"] for one in told["calls"]}
    assert outcomes["call-receipt"] == "receipt"
    assert outcomes["call-skipped|resp-skipped"] == "skipped"
    waived = next(one for one in told["calls"] if one["litellm_call_id"] == "call-missing_cost")
    assert "by ada (ours): a person waived it" in " ".join(waived["says"])
    rows = explained.command("explain", "run-x", "--csv").splitlines()
    assert rows[0].startswith("outcome,reason,call_key")
    assert len(rows) == len(told["calls"]) + 1
    shown = explained.command("explain", "call-receipt")
    assert shown.startswith("receipt (usage): call call-receipt|resp-receipt")
