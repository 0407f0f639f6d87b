"""Every column of a receipt from a payload, and what odd payloads leave of it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from charging.decision import decide
from charging.outcomes import Charge, Deferred, Usage
from ledger.rows import usage_row
from schemas.headers import RECEIVED_AT
from tests.inputs import captures
from tests.inputs.callbacks import (
    ENDED,
    NUMBER,
    RECEIVED_MS,
    USAGE_UNITS,
    charged,
    element,
    policy,
    receipt,
    record,
    usage_unit,
    verdict,
)

SPEND = {
    "run_id": "run-1",
    "attempt": 3,
    "graph_id": "langgraph:poet",
    "sub_agent_id": "writer",
    "parent_sub_agent_id": "editor",
    "tool_call_id": "tool-1",
}
CALLER = {
    "user_api_key_team_id": "team-a",
    "user_api_key_team_alias": "Team A",
    "user_api_key_alias": "team-a-gateway",
    "user_api_key_hash": "0a" * 32,
    "user_api_key_user_id": "user-alice",
    "user_api_key_org_id": "org-1",
}
USAGE = {
    "prompt_tokens_details": {"cached_tokens": 64},
    "completion_tokens_details": {"reasoning_tokens": 7},
}


def test_every_field_that_the_payload_has_is_on_the_receipt() -> None:
    charge = charged(
        element(
            metadata={"spend_logs_metadata": SPEND, "usage_object": USAGE, **CALLER},
            hidden_params={"additional_headers": {"llm_provider-x-request-id": "req-1"}},
            request_tags=["blue", "User-Agent: x"],
        )
    )
    assert charge.provider_call_id == "req-1"
    assert (charge.key_hash, charge.user_id) == ("0a" * 32, "user-alice")
    assert charge.started_at == datetime.fromtimestamp(ENDED - 1.5, UTC)
    found = msgspec.structs.asdict(charge.receipt)
    assert isinstance(found.pop("id"), UUID)
    assert found == {
        "source_system": "litellm",
        "call_key": "call-1|chatcmpl-1",
        "litellm_call_id": "call-1",
        "response_id": "chatcmpl-1",
        "source_reference": "run-1/3/call-1|chatcmpl-1",
        "run_id": "run-1",
        "attempt": 3,
        "billing_account_id": "acct-1",
        "response_cost_usd": Decimal("0.000036"),
        "charged_usd": Decimal("0.000036"),
        "charged_credits": 360,
        "cost_source": "litellm_callback",
        "charge_reason": "usage",
        "marks": [],
        "occurred_at": datetime.fromtimestamp(ENDED, UTC),
        "model": "gpt-4o-mini",
        "provider_model": "openai/gpt-4o-mini",
        "provider": "openai",
        "call_type": "acompletion",
        "stream": True,
        "tokens_in": 120,
        "tokens_out": 30,
        "tokens_cached_in": 64,
        "tokens_reasoning": 7,
        "latency_ms": 1_500,
        "ttft_ms": 250,
        "graph_id": "langgraph:poet",
        "sub_agent_id": "writer",
        "parent_sub_agent_id": "editor",
        "tool_call_id": "tool-1",
        "tags": ["blue", "User-Agent: x"],
        "team_id": "team-a",
        "team_alias": "Team A",
        "key_alias": "team-a-gateway",
        "organization_id": "org-1",
    }


def test_the_source_of_the_token_is_part_of_the_identity() -> None:
    here, there = (
        decide(record(element(), source=source), policy()) for source in (None, "litellm/eu")
    )
    assert isinstance(here, Charge)
    assert isinstance(there, Charge)
    assert (here.receipt.source_system, there.receipt.source_system) == ("litellm", "litellm/eu")
    assert here.receipt.call_key == there.receipt.call_key
    assert here.receipt.id != there.receipt.id


HEADER = {"requester_custom_headers": {"x-litellm-end-user-id": "by-header"}}
PROXY = {"user_api_key_team_id": "team", "user_api_key_user_id": "user"}


@pytest.mark.parametrize(
    ("end_user", "metadata", "account"),
    [
        ("acct", {**HEADER, **PROXY}, "acct"),
        (" ", {**HEADER, **PROXY}, "by-header"),
        (None, {**HEADER, **PROXY}, "by-header"),
        ("", PROXY, "team"),
        ("run-1/2", {**HEADER, **PROXY}, "by-header"),
        ("run-1/2", PROXY, "team"),
        (
            "run-1/2",
            {"requester_custom_headers": {"x-litellm-end-user-id": "run-1/2"}, **PROXY},
            "team",
        ),
        (5, PROXY, "5"),
        (4711.0, PROXY, "4711"),
        (True, PROXY, "team"),
        ({"id": "acct"}, PROXY, "team"),
        ('{"device_id":"4f","account_uuid":"","session_id":"5b1c"}', PROXY, "team"),
        (' {"device_id": "4f", "acco', PROXY, "team"),
        ("{'device_id': '4f'}", PROXY, "team"),
        ('[{"session_id": "5b1c"}]', PROXY, "team"),
        ('"{\\"session_id\\": 1}"', PROXY, "team"),
        (f"user_{'0a' * 32}_account__session_{'0' * 36}", PROXY, "team"),
        (f"user_{'0a' * 32}_account_{'1' * 36}_session_{'0' * 36}", PROXY, "team"),
        ("{}", PROXY, "team"),
        ('{ "a": 1}', PROXY, "team"),
        ("[internal] acme", PROXY, "[internal] acme"),
        ("{curly}", PROXY, "{curly}"),
        ("user_1_account_2_session_3", PROXY, "user_1_account_2_session_3"),
        ("default_user_id", PROXY, "team"),
        (None, {"user_api_key_user_id": "default_user_id"}, "unattributed"),
        (None, {"user_api_key_team_id": 17}, "17"),
        (["acct"], PROXY, "team"),
        (None, {"user_api_key_user_id": "user", "user_api_key_team_id": ""}, "user"),
        (None, {"requester_custom_headers": {"x-litellm-end-user-id": "\t"}, **PROXY}, "team"),
        (None, {"requester_custom_headers": ["x"], **PROXY}, "team"),
        (None, {"user_api_key_alias": "alias", "user_api_key_org_id": "org"}, "unattributed"),
        ("run-1/2", {}, "unattributed"),
        (None, {}, "unattributed"),
    ],
)
def test_the_account_is_the_first_that_is_there(
    end_user: object, metadata: Mapping[str, object], account: str
) -> None:
    found = receipt(end_user=end_user, metadata=metadata)
    assert found["billing_account_id"] == account
    assert ("unattributed_account" in found["marks"]) == (account == "unattributed")


def test_a_run_attempt_is_no_account_but_names_the_run() -> None:
    found = receipt(end_user="run-9/4", metadata=PROXY)
    assert (found["run_id"], found["attempt"]) == ("run-9", 4)
    assert found["billing_account_id"] == "team"


@pytest.mark.parametrize(
    ("order", "account"),
    [
        (("user_api_key_team_id", "end_user"), "team"),
        (("user_api_key_user_id",), "user"),
        (("user_api_key_org_id", "x-litellm-end-user-id"), "by-header"),
        (("user_api_key_org_id",), "unattributed"),
        ((), "unattributed"),
    ],
)
def test_the_operator_chooses_where_the_account_comes_from(
    order: tuple[str, ...], account: str
) -> None:
    value = element(end_user="forged", metadata={**HEADER, **PROXY})
    found = charged(value, policy(account_from=order)).receipt
    assert found.billing_account_id == account


def test_a_call_without_a_run_is_marked_and_stands_for_itself() -> None:
    found = receipt(metadata=None)
    assert found["run_id"] == found["call_key"] == "call-1|chatcmpl-1"
    assert found["source_reference"] == "call-1|chatcmpl-1/0/call-1|chatcmpl-1"
    assert "unattributed_run" in found["marks"]


@pytest.mark.parametrize(
    ("usage", "cached", "reasoning"),
    [
        ({"cache_read_input_tokens": 9}, 9, None),
        ({"cache_read_input_tokens": 9, "prompt_tokens_details": {"cached_tokens": 0}}, 0, None),
        ({"prompt_tokens_details": None, "completion_tokens_details": None}, None, None),
        ({"completion_tokens_details": {"reasoning_tokens": 5}}, None, 5),
        ({"prompt_tokens_details": {"cached_tokens": -1}}, None, None),
        ({"prompt_tokens_details": {"cached_tokens": 10**20}}, None, None),
        ({"prompt_tokens_details": [1]}, None, None),
        ([], None, None),
        (None, None, None),
    ],
)
def test_tokens_of_each_class_where_the_provider_names_them(
    usage: object, cached: int | None, reasoning: int | None
) -> None:
    found = receipt(metadata={"usage_object": usage})
    assert (found["tokens_cached_in"], found["tokens_reasoning"]) == (cached, reasoning)


@pytest.mark.parametrize("count", [-1, 10**20, 1.5, "many", None, [], float("nan")])
def test_a_count_that_is_none_is_left_out_and_the_call_is_billed(count: object) -> None:
    found = receipt(prompt_tokens=count, completion_tokens=count)
    assert (found["tokens_in"], found["tokens_out"]) == (None, None)
    assert found["charged_credits"] == 360


@pytest.mark.parametrize(
    ("times", "occurred", "latency"),
    [
        ({}, ENDED, 1_500),
        ({"startTime": None}, ENDED, None),
        ({"endTime": None}, ENDED - 1.5, None),
        ({"startTime": None, "endTime": None}, RECEIVED_MS / 1_000, None),
        ({"startTime": "x", "endTime": [1]}, RECEIVED_MS / 1_000, None),
        ({"startTime": ENDED + 10}, ENDED, None),
        ({"endTime": ENDED + 80_000}, ENDED + 80_000, 80_001_500),
        ({"startTime": 1_577_836_800}, ENDED, 2_147_483_647),
    ],
)
def test_times_of_any_kind(times: dict[str, Any], occurred: float, latency: int | None) -> None:
    found = receipt(**times)
    assert found["occurred_at"] == datetime.fromtimestamp(occurred, UTC)
    assert found["latency_ms"] == latency


@pytest.mark.parametrize(
    "odd",
    [
        *(0, -5.0, 1.0, 1_577_836_799.9, RECEIVED_MS / 1_000 + 86_401, RECEIVED_MS, 1e300),
        *(float("inf"), float("-inf"), float("nan"), 253_402_300_799.0, 10**30, "x", [1]),
    ],
)
def test_a_time_that_cannot_be_is_not_believed_and_marked(odd: object) -> None:
    """Before 2020, or more than a day ahead of the receipt: then it is when it was received."""
    ended = receipt(endTime=odd)
    assert ended["occurred_at"] == datetime.fromtimestamp(RECEIVED_MS / 1_000, UTC)
    assert ended["latency_ms"] is None
    begun = receipt(startTime=odd)
    assert begun["occurred_at"] == datetime.fromtimestamp(ENDED, UTC)
    assert (begun["latency_ms"], begun["ttft_ms"]) == (None, None)
    first = receipt(completionStartTime=odd)
    assert (first["latency_ms"], first["ttft_ms"]) == (1_500, None)
    neither = receipt(startTime=odd, endTime=odd)
    assert neither["occurred_at"] == ended["occurred_at"]
    for found in (ended, begun, first, neither):
        assert "odd_time" in found["marks"]
        assert found["charged_credits"] == 360
    assert "odd_time" not in receipt()["marks"]
    assert "odd_time" not in receipt(startTime=None, endTime=None)["marks"]


@pytest.mark.parametrize(
    ("header", "occurred_ms"),
    [
        (b"2026-11-20T10:00:00.250Z", 1_795_168_800_250),
        (b"2026-11-20T10:00:00.250", RECEIVED_MS),
        (b"yesterday", RECEIVED_MS),
        (b"", RECEIVED_MS),
        (b"\xff", RECEIVED_MS),
        (b"9999-12-31T23:59:59-23:59", RECEIVED_MS),
        (b"0001-01-01T00:00:00+23:59", RECEIVED_MS),
        (b"2019-12-31T23:59:59.999Z", RECEIVED_MS),
        (b"2020-01-01T00:00:00Z", 1_577_836_800_000),
        (b"2" * 10_000, RECEIVED_MS),
    ],
)
def test_a_call_without_times_happened_when_the_gateway_took_it(
    header: bytes, occurred_ms: int
) -> None:
    """Kafka's time changes when a record is sent again, by a replay or a settlement."""
    taken = record(element(startTime=None, endTime=None), headers=[(RECEIVED_AT, header)])
    decision = decide(taken, policy())
    assert isinstance(decision, Charge)
    assert decision.receipt.occurred_at == datetime.fromtimestamp(occurred_ms / 1_000, UTC)


def test_only_a_stream_has_a_time_to_first_token() -> None:
    assert receipt(stream=None)["ttft_ms"] is None
    assert receipt(completionStartTime=None)["ttft_ms"] is None


def test_a_hash_tells_different_billing_content_apart_and_nothing_else() -> None:
    plain = charged(element()).content_hash
    same = [
        element("0.0000360", response_cost=NUMBER),
        element("3.6e-5", response_cost=NUMBER),
        element(endTime=1.0),
        element(request_tags=[]),
        element(metadata={"spend_logs_metadata": {"run_id": "another"}}),
    ]
    different = [
        element("0.0000360000000000000000000000000000000001", response_cost=NUMBER),
        element(prompt_tokens=121),
        element(completion_tokens=None),
        element(model_group="another"),
        element(end_user="another"),
        element(metadata={"usage_object": {"cache_read_input_tokens": 1}}),
    ]
    assert {charged(value).content_hash for value in same} == {plain}
    hashes = [charged(value).content_hash for value in different]
    assert plain not in hashes
    assert len(set(hashes)) == len(different)


def test_a_deferral_names_the_call() -> None:
    deferred = verdict(element(response_cost=0, model="\x00", model_group=None))
    assert isinstance(deferred, Deferred)
    assert (deferred.call_key, deferred.run_id) == ("call-1|chatcmpl-1", "run-1")
    assert (deferred.tokens_in, deferred.tokens_out) == (120, 30)
    assert (deferred.model, deferred.provider) == ("\ufffd", "openai")
    assert deferred.occurred_at == datetime.fromtimestamp(ENDED, UTC)


@pytest.mark.parametrize("file", captures.files())
def test_the_decision_about_a_real_payload_is_the_same_each_time(file: str) -> None:
    for value in captures.elements(file):
        taken = record(value)
        assert decide(taken, policy()) == decide(taken, policy())


@pytest.mark.parametrize("run_id", ["run-1", "läuft/1", "a\x00b", "\N{ROCKET}" * 500])
def test_a_usage_unit_knows_its_run_by_the_name_on_the_receipt(run_id: str) -> None:
    """Else the two could not be compared, and would lie on different partitions."""
    taken = record(json.dumps(usage_unit(run_id=run_id)).encode(), topic=USAGE_UNITS)
    usage = decide(taken, policy())
    assert isinstance(usage, Usage)
    billed = charged(element(metadata={"spend_logs_metadata": {"run_id": run_id}})).receipt
    assert usage_row(taken, usage)["run_id"] == billed.run_id
    assert usage.unit.key() == billed.run_id.encode()
