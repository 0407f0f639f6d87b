"""What makes two callbacks the same call, and what happens when they disagree."""

import json
from typing import Any

import pytest

from tests.inputs import captures
from tests.inputs.captures import Call, Calls
from tests.observers.deployment import OLDER_PATH, Deployment
from tests.observers.ledger import Ledger
from tests.observers.topics import Topics


def again(call: Call, **fields: object) -> bytes:
    """The event of a call with some of its fields replaced."""
    event: dict[str, Any] = json.loads(call.element)
    event.update(fields)
    return json.dumps(event).encode()


def test_one_litellm_call_id_with_different_ids_is_two_receipts(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    call = calls.make()
    other = again(call, id=calls.name("chatcmpl"))
    deployment.accept(captures.array([call.element, other]))
    topics.wait_until_consumed()
    assert len(ledger.receipts(litellm_call_id=call.litellm_call_id)) == 2


def test_one_id_with_different_litellm_call_ids_is_two_receipts(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    call = calls.make()
    other = again(call, litellm_call_id=calls.name("call"))
    deployment.accept(captures.array([call.element, other]))
    topics.wait_until_consumed()
    assert len(ledger.receipts(response_id=call.response_id)) == 2


def test_no_separator_in_an_id_makes_two_calls_one(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    run, left, right = calls.name("run"), calls.name("l"), calls.name("r")
    pairs = [
        (f"{left}|{right}", "x"),
        (left, f"{right}|x"),
        (f"{left}/{right}", "x"),
        (left, f"{right}/x"),
        (f"{left}\\|{right}", "x"),
        (f"{left}\\", f"{right}|x"),
    ]
    parts = [calls.in_run(run, litellm_call_id=a, id=b).element for a, b in pairs]
    deployment.accept(captures.array(parts))
    topics.wait_until_consumed()
    assert len(ledger.receipts(run_id=run)) == len(pairs)


def test_CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID_a_batch_retrieved_ten_times_is_one(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    batch = calls.name("batch")
    retrieved = [
        calls.make(id=batch, call_type="aretrieve_batch", stream=None).element for _ in range(10)
    ]
    for element in retrieved:
        deployment.accept(captures.array([element]))
    topics.wait_until_consumed()
    assert ledger.receipt(response_id=batch)["cost_text"] == "0.000036"


def test_a_batch_is_charged_when_it_is_finished_and_not_before(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    batch = calls.name("batch")
    common = {"id": batch, "stream": None, "model": "", "model_group": ""}
    unfinished = {"response_cost": 0.0, "prompt_tokens": 0, "completion_tokens": 0}
    created = calls.make(**common, **unfinished, call_type="acreate_batch")
    waiting = calls.make(**common, **unfinished, call_type="aretrieve_batch")
    deployment.accept(captures.array([created.element, waiting.element]))
    topics.wait_until_consumed()
    assert ledger.receipts(response_id=batch) == []
    assert ledger.deferred(response_id=batch) == []
    finished = calls.make(**common, call_type="aretrieve_batch")
    deployment.accept(captures.array([finished.element]))
    topics.wait_until_consumed()
    assert len(ledger.receipts(response_id=batch)) == 1


def test_no_optional_field_is_part_of_a_calls_identity(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    call = calls.make()
    event = json.loads(call.element)
    later = again(call, startTime=event["startTime"] + 9, endTime=event["endTime"] + 9)
    nameless = again(call, metadata={**event["metadata"], "spend_logs_metadata": None})
    parts = [call.element, later, nameless]
    for part in parts:
        deployment.accept(captures.array([part]))
    topics.wait_until_consumed()
    assert len(ledger.receipts(response_id=call.response_id)) == 1


def test_ONE_CALL_ONE_RECEIPT_WHICHEVER_PATH_both_endpoints_are_one_door(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    call = calls.make()
    body = captures.array([call.element])
    deployment.accept(body)
    assert deployment.post(body, path=OLDER_PATH).status_code == 202
    topics.wait_until_consumed()
    ledger.receipt(response_id=call.response_id)


def test_RECEIPTS_ARE_IMMUTABLE_a_contradiction_is_kept_aside(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    call = calls.make()
    deployment.accept(captures.array([call.element]))
    topics.wait_until_consumed()
    before = ledger.receipt(response_id=call.response_id)
    contradiction = again(call, response_cost=9.75)
    deployment.accept(captures.array([contradiction] * 3))
    topics.wait_until_consumed()
    assert ledger.receipt(response_id=call.response_id) == before
    conflicts = ledger.conflicts(charge_receipt_id=before["id"])
    assert [str(row["response_cost_usd"]) for row in conflicts] == ["9.75"]


def test_NO_PLACEHOLDER_RECEIPTS_a_deferred_call_is_settled_by_a_later_cost(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    call = calls.make(response_cost=0.0)
    missing = calls.make(response_cost=None)
    deployment.accept(captures.array([call.element, missing.element]))
    topics.wait_until_consumed()
    assert ledger.receipts(response_id=call.response_id) == []
    assert ledger.receipts(response_id=missing.response_id) == []
    (open_call,) = ledger.deferred(response_id=call.response_id)
    assert (open_call["reason"], open_call["resolved_at"]) == ("suspicious_zero", None)
    assert ledger.deferred(response_id=missing.response_id)[0]["reason"] == "missing_cost"

    deployment.accept(captures.array([again(call, response_cost=0.5)]))
    topics.wait_until_consumed()
    assert ledger.receipt(response_id=call.response_id)["cost_text"] == "0.5"
    (settled,) = ledger.deferred(response_id=call.response_id)
    assert settled["resolved_at"] is not None

    # A straggler with the old zero neither opens it again nor contradicts the receipt.
    deployment.accept(captures.array([call.element]))
    topics.wait_until_consumed()
    (still,) = ledger.deferred(response_id=call.response_id)
    assert still["resolved_at"] == settled["resolved_at"]
    ledger.receipt(response_id=call.response_id)


def test_two_sources_have_ledgers_of_their_own(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    if "second" not in deployment.sources:
        pytest.skip("needs a token source `second` in BILLING_INGEST_TOKENS")
    call = calls.make()
    deployment.accept(captures.array([call.element]))
    deployment.accept(captures.array([call.element]), token=deployment.sources["second"])
    topics.wait_until_consumed()
    systems = {row["source_system"] for row in ledger.receipts(response_id=call.response_id)}
    assert systems == {"litellm", "litellm/second"}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 0, 1, 2), (1, 2, 3, 0)], ids=str)
def test_04_a_background_response_is_charged_once_to_who_ordered_it(
    deployment: Deployment,
    topics: Topics,
    ledger: Ledger,
    calls: Calls,
    order: tuple[int, ...],
) -> None:
    for posted in (together, one_by_one):
        events = background_response(calls)
        posted(deployment, [events[number].element for number in order])
        topics.wait_until_consumed()
        assert_charged_once(ledger, events)


def together(deployment: Deployment, events: list[bytes]) -> None:
    """All in one POST."""
    deployment.accept(captures.array(events))


def one_by_one(deployment: Deployment, events: list[bytes]) -> None:
    """Each in a POST of its own."""
    for event in events:
        deployment.accept(captures.array([event]))


def assert_charged_once(ledger: Ledger, events: list[Call]) -> None:
    """Its one receipt belongs to who ordered it, and nothing of it waits."""
    run = json.loads(events[0].element)["metadata"]["spend_logs_metadata"]["run_id"]
    row = ledger.receipt(run_id=run)
    assert row["cost_text"] == "0.000044999999999999996"
    assert (row["billing_account_id"], row["attempt"]) == ("acme", 0)
    for event in events:
        found = ledger.receipts(litellm_call_id=event.litellm_call_id)
        assert found == ([row] if event is events[0] else [])
        waits = ledger.deferred(litellm_call_id=event.litellm_call_id)
        assert all(deferral["resolved_at"] for deferral in waits)


def background_response(calls: Calls) -> list[Call]:
    """The four events of report 04, as LiteLLM 1.110.2 sends them, with ids of their own."""
    run, key = calls.name("run"), calls.name("key")
    shared = {"object": "response", "background": True, "created_at": 1795670575}
    shared["model"] = "gpt-4o-mini"
    nothing = {"response_cost": 0.0, "prompt_tokens": 0, "completion_tokens": 0}
    made = [
        calls.make(
            **nothing,
            call_type="aresponses",
            total_tokens=0,
            stream=None,
            end_user="acme",
            response={**shared, "status": "queued"},
            metadata={
                "user_api_key_hash": key,
                "spend_logs_metadata": {"run_id": run, "attempt": 0},
            },
        )
    ]
    for _ in range(3):
        read = calls.make(
            call_type="aget_responses",
            response_cost=4.4999999999999996e-05,
            prompt_tokens=100,
            completion_tokens=50,
            total_tokens=150,
            stream=None,
            end_user=None,
            model_group="f9515fa78e48ab29d31b01bc92d1fc486cfc47b61763bdf17d955ae816820afb",
            response={**shared, "status": "completed"},
            metadata={
                "user_api_key_hash": key,
                "user_api_key_user_id": "default_user_id",
                "spend_logs_metadata": None,
            },
        )
        made.append(read)
    return made
