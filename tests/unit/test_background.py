"""What a callback tells of a response that is made in the background."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.background import attribution, deferral_keys, inherit
from charging.outcomes import Charge, Deferred, Link, Role, Skipped
from producer_gateway.content import cut_content, keep_billing_fields
from schemas.background import read_response
from tests.inputs.background import (
    CREATED_AT,
    changed,
    create,
    ended,
    event,
    finished,
    read,
    response,
)
from tests.inputs.callbacks import leniently, verdict


def link(raw: bytes) -> Link:
    """The link that the decision about an event carries."""
    decision = verdict(raw)
    assert isinstance(decision, Charge | Deferred | Skipped)
    assert decision.link is not None, decision
    return decision.link


def charge(raw: bytes) -> Charge:
    """The charge that an event asks for."""
    decision = verdict(raw)
    assert isinstance(decision, Charge)
    return decision


def said(raw: bytes) -> str:
    """A decision in a word."""
    decision = verdict(raw)
    if isinstance(decision, Charge):
        return "charge"
    assert isinstance(decision, Deferred | Skipped)
    return decision.reason


def test_04_each_event_of_a_response_has_its_role() -> None:
    events = (create(), finished(), read(), ended(), ended("cancelled"))
    assert [link(raw).role for raw in events] == [
        Role.CREATE,
        Role.FINISHED,
        Role.READ,
        Role.ENDED,
        Role.ENDED,
    ]
    assert said(create()) == "awaiting_result"
    assert said(ended()) == "not_billable"
    assert len({link(raw).digest for raw in events}) == 1


def test_04_reads_of_one_result_are_one_call_and_agree() -> None:
    first, second, other = charge(read()), charge(read()), charge(read(tokens=151))
    assert first.receipt.call_key == second.receipt.call_key != other.receipt.call_key
    assert first.receipt.id == second.receipt.id
    assert first.content_hash == second.content_hash != other.content_hash
    assert first.receipt.response_id != second.receipt.response_id
    assert charge(finished()).content_hash == first.content_hash
    assert charge(finished()).receipt.call_key != charge(finished()).receipt.call_key
    dearer = charge(read(response_cost=0.00005))
    assert dearer.receipt.call_key == first.receipt.call_key
    assert dearer.content_hash != first.content_hash


@pytest.mark.parametrize(
    "field", [{"created_at": CREATED_AT + 1}, {"model": "gpt-4o"}], ids=["created_at", "model"]
)
def test_what_the_events_do_not_share_is_another_response(field: dict[str, object]) -> None:
    assert link(read(response=response("completed", **field))).digest != link(read()).digest


def test_another_key_is_another_response() -> None:
    assert link(read(metadata={"user_api_key_hash": "other"})).digest != link(read()).digest


@pytest.mark.parametrize("created_at", [CREATED_AT, float(CREATED_AT), str(CREATED_AT)])
def test_the_time_of_a_response_is_one_whatever_its_type(created_at: object) -> None:
    shown = read(response=response("completed", created_at=created_at))
    assert link(shown).digest == link(read()).digest


@pytest.mark.parametrize(
    "shown",
    [..., None, "redacted-by-litellm", {"text": "redacted-by-litellm"}, [], 5,
     response("completed", created_at=...), response("completed", created_at=None),
     response("completed", background=...), response("completed", background=False)],
    ids=str,
)  # fmt: skip
def test_a_read_that_cannot_be_told_apart_waits_for_a_person(shown: object) -> None:
    decision = verdict(read(response=shown))
    assert isinstance(decision, Deferred)
    assert decision.reason == "ambiguous_read"
    assert str(decision.suggested_cost_usd) == "0.000044999999999999996"
    assert decision.link is None


def test_a_read_by_the_id_of_what_is_read_is_one_deferral_however_often() -> None:
    polls = [event("avideo_status", id="video-1", response_cost=0.5) for _ in range(3)]
    decisions = [verdict(raw) for raw in polls]
    assert {said(raw) for raw in polls} == {"ambiguous_read"}
    keys = {each.call_key for each in decisions if isinstance(each, Deferred)}
    assert keys == {"read||video-1"}
    assert said(event("aretrieve_batch", id="batch-1", response_cost=0.5)) == "charge"
    assert charge(event("retrieve_batch", id="batch-1")).receipt.call_key == "batch-1"


def test_a_create_without_its_response_part_is_a_suspicious_zero() -> None:
    assert said(create(response=...)) == "suspicious_zero"
    assert said(create(response=response("completed"))) == "suspicious_zero"
    assert said(create(prompt_tokens=3)) == "suspicious_zero"
    assert said(create(response_cost=None)) == "awaiting_result"
    assert said(create(model_group="free-1")) == "charge"
    assert said(create(status="failure")) == "failed_call"


def test_an_interaction_in_the_background_awaits_its_result_under_its_own_key() -> None:
    fields: dict[str, Any] = {"id": "int-1", "litellm_call_id": "call-1"}
    begun = {"call_type": "acreate_interaction", "response": {"status": "in_progress"}}
    waiting = changed(create(), **begun, **fields)
    done = event("acreate_interaction", **fields)
    ordered, paid = verdict(waiting), charge(done)
    assert isinstance(ordered, Deferred)
    assert ordered.reason == "awaiting_result"
    assert ordered.link is None
    assert ordered.call_key == paid.receipt.call_key


def test_a_receipt_inherits_who_ordered_it_and_nothing_of_who_reads() -> None:
    ordered = verdict(create())
    assert isinstance(ordered, Deferred)
    assert ordered.held is not None
    mine, seen = ordered.held.receipt, charge(read(metadata={"user_api_key_hash": "key"})).receipt
    receipt = inherit(charge(read()), mine).receipt
    assert attribution(receipt) == attribution(mine)
    assert (receipt.run_id, receipt.attempt, receipt.billing_account_id) == ("run-bg", 1, "acme")
    assert (receipt.sub_agent_id, receipt.tags) == ("writer", ["night"])
    assert receipt.model == "gpt-4o-mini"
    assert receipt.litellm_call_id == mine.litellm_call_id
    assert receipt.response_id == mine.response_id
    assert (receipt.id, receipt.call_key) == (seen.id, seen.call_key)
    assert receipt.source_reference == f"run-bg/1/{seen.call_key}"
    assert receipt.marks == []
    assert seen.marks == ["unattributed_account", "unattributed_run"]
    assert (receipt.latency_ms, receipt.ttft_ms) == (None, None)
    assert receipt.response_cost_usd == seen.response_cost_usd


@pytest.mark.parametrize("cut", [cut_content, keep_billing_fields])
@pytest.mark.parametrize(
    "raw",
    [create(), finished(), read(), ended()],
    ids=["ordered", "finished", "read", "ended"],
)
def test_what_links_the_events_is_kept_where_content_is_cut(
    cut: Callable[[bytes], bytes], raw: bytes
) -> None:
    left = cut(raw)
    assert b"SECRET" not in left
    assert link(left) == link(raw)
    assert set(json.loads(left)["response"]) == {
        "object",
        "status",
        "background",
        "created_at",
        "model",
    }


def test_an_event_that_strict_json_refuses_is_read_the_same() -> None:
    assert link(leniently(read())).result_key == link(read()).result_key
    as_text = changed(read(), response=json.dumps(response("completed")))
    assert link(as_text).result_key == link(read()).result_key


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(
            st.sampled_from(["background", "created_at", "status", "model"]) | st.text(), inner),
        max_leaves=8,
    )
)  # fmt: skip
def test_any_response_part_is_read_or_says_nothing(shown: object) -> None:
    raw = changed(read(), response=shown)
    state = read_response(raw)
    assert state == read_response(leniently(raw)) or not json.dumps(shown).isascii()
    assert said(raw) in {"charge", "ambiguous_read"}
    assert verdict(raw)


def test_a_deferral_is_known_by_every_key_that_its_event_may_have() -> None:
    raw = read()
    result = link(raw).result_key
    keys = set(deferral_keys(raw))
    assert {result, f"{result}||again"} < keys
    assert len(keys) == 4
    assert len(set(deferral_keys(create()))) == 1
