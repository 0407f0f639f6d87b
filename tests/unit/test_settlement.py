"""A settled callback is the callback, with the cost that a person set."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charging.kept import kept_of, settled_value
from schemas import reader
from schemas.callback import ContractError
from tests.inputs.callbacks import NUMBER, charged, costing, element, leniently

COST = Decimal("0.0123456789012345678901234567890123")


@pytest.mark.parametrize("sent", ["0", "null", "-0.0123", "NaN", '"0.1"', "[1]", "9" * 5_000])
@pytest.mark.parametrize("lenient", [False, True])
def test_08_whatever_the_cost_was_the_settled_one_is_billed_to_the_last_digit(
    *, sent: str, lenient: bool
) -> None:
    value = leniently(costing(sent)) if lenient else costing(sent)
    settled = settled_value(value, COST)
    assert reader.is_strict_json(settled)
    charge, plain = charged(settled), charged(element())
    assert charge.receipt.response_cost_usd == COST
    assert charge.receipt.call_key == plain.receipt.call_key
    assert charge.receipt.run_id == plain.receipt.run_id
    assert charge.receipt.billing_account_id == plain.receipt.billing_account_id
    assert charge.receipt.occurred_at == plain.receipt.occurred_at


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "1e400", "-1", "[]"])
def test_other_amounts_that_are_no_numbers_do_not_stop_a_settlement(figure: str) -> None:
    fields: dict[str, Any] = {"saved_cache_cost": NUMBER, "cost_breakdown": {"total_cost": NUMBER}}
    settled = settled_value(element(figure, response_cost=0, **fields), COST)
    assert reader.is_strict_json(settled)
    assert charged(settled).receipt.response_cost_usd == COST


@pytest.mark.parametrize(
    "field", ["prompt_tokens", "endTime", "model", "metadata", "cost_breakdown"]
)
def test_a_number_beyond_a_float_says_the_same_of_a_settled_call(field: str) -> None:
    value = element("1e400", response_cost=0, **{field: NUMBER})
    settled = charged(settled_value(value, COST)).receipt
    cost = b'"response_cost": %s' % str(COST).encode()
    assert settled == charged(value.replace(b'"response_cost": 0', cost)).receipt
    assert set(settled.marks) & {"field_unreadable", "odd_time", "attribution_unreadable"}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


SPEND = ANYTHING | st.fixed_dictionaries({"run_id": ANYTHING, "attempt": ANYTHING})
METADATA = st.fixed_dictionaries({"spend_logs_metadata": SPEND | SPEND.map(json.dumps)})


@given(
    st.fixed_dictionaries(
        {},
        optional={"metadata": METADATA} | dict.fromkeys(
            ("litellm_call_id", "hidden_params", "saved_cache_cost", "cost_breakdown",
             "prompt_tokens", "startTime", "model", "end_user", "request_tags"),
            ANYTHING,
        ),
    )
)  # fmt: skip
@example({"litellm_call_id": 1.0393368769284074e16})
@example({"metadata": {"spend_logs_metadata": {"run_id": -1.0393368769284074e16}}})
def test_whatever_else_the_callback_says_it_can_be_settled(fields: dict[str, Any]) -> None:
    value = element(response_cost=0, **fields)
    settled = settled_value(value, COST)
    assert charged(settled).receipt.response_cost_usd == COST
    assert reader.read_callback(settled).identity == reader.read_callback(value).identity


def test_what_is_no_callback_cannot_be_settled() -> None:
    with pytest.raises(ContractError):
        settled_value(b"\xff", COST)


def test_a_settled_value_holds_no_content() -> None:
    assert "messages" not in json.loads(settled_value(element(), COST))


BEYOND_THE_PLUGIN: dict[str, Any] = {
    "spend_logs_metadata": {"billing_hold": "12345678-1234-1234-1234-123456789abc", "more": 1},
    "requester_custom_headers": {"x-litellm-spend-logs-metadata": "no JSON"},
}
"""The client has written more than the plugin's hold, so LiteLLM has read its header."""
NAMES = st.sampled_from(
    ["run_id", "attempt", "graph_id", "runId", "Sub-Agent-Id", "billing_hold", "other", "more"]
)
HELD = st.sampled_from(["refused", "12345678-1234-1234-1234-123456789abc", "mine"])
SAID = st.dictionaries(NAMES, ANYTHING | HELD, max_size=4)
WHOLE = SAID | SAID.map(json.dumps) | ANYTHING
KEPT_METADATA = st.fixed_dictionaries(
    {},
    optional={
        "spend_logs_metadata": WHOLE,
        "requester_custom_headers": ANYTHING
        | st.fixed_dictionaries({}, optional={"x-litellm-spend-logs-metadata": WHOLE}),
        "usage_object": ANYTHING
        | st.fixed_dictionaries({}, optional={"prompt_tokens_details": ANYTHING}),
        "user_api_key_team_id": ANYTHING,
    },
)


@given(
    st.fixed_dictionaries(
        {},
        optional={"metadata": KEPT_METADATA | KEPT_METADATA.map(json.dumps) | ANYTHING}
        | dict.fromkeys(
            ("litellm_call_id", "hidden_params", "saved_cache_cost", "cost_breakdown", "error_str",
             "prompt_tokens", "startTime", "model", "end_user", "request_tags"),
            ANYTHING,
        ),
    ),
    st.sampled_from(["0", "null", "-0.0123", "NaN", '"0.1"', "[1]", "9" * 5_000]),
)  # fmt: skip
@example({"litellm_call_id": 1.0393368769284074e16}, "0")
@example({"metadata": BEYOND_THE_PLUGIN}, "0")
def test_what_is_kept_of_a_callback_settles_it_as_the_callback_itself(
    fields: dict[str, Any], cost: str
) -> None:
    value = costing(cost, **fields)
    kept = kept_of(value)
    assert kept is not None
    assert reader.is_strict_json(kept)
    assert reader.read_callback(kept).identity == reader.read_callback(value).identity
    assert charged(settled_value(kept, COST)) == charged(settled_value(value, COST))


@pytest.mark.parametrize(
    "fields",
    [
        {"error_str": "SECRET"},
        {"metadata": {"spend_logs_metadata": {"run_id": "r", "note": "SECRET"}}},
        {"metadata": {"spend_logs_metadata": {"run_id": ["SECRET"], "SECRET": 1}}},
        {"metadata": {"spend_logs_metadata": "SECRET"}},
        {"metadata": {"requester_custom_headers": {"x-litellm-spend-logs-metadata": "SECRET"}}},
        {"metadata": {"usage_object": {"prompt_tokens_details": "SECRET"}}},
        {"request_tags": [{"SECRET": 1}]},
        {"request_tags": {"SECRET": 1}},
        {"model": {"SECRET": 1}},
        {"hidden_params": "SECRET"},
    ],
)
def test_no_text_is_kept_that_billing_does_not_read(fields: dict[str, Any]) -> None:
    assert b"SECRET" not in (kept_of(element(response_cost=0, **fields)) or b"SECRET")


def test_what_is_kept_holds_neither_a_cost_nor_content() -> None:
    fields = json.loads(kept_of(element(response_cost=0.5)) or b"")
    assert not {"messages", "response", "response_cost"} & set(fields)


def test_of_what_is_no_callback_or_too_large_nothing_is_kept() -> None:
    assert kept_of(b"\xff") is None
    assert kept_of(None) is None
    assert kept_of(element(request_tags=["t" * 1_000] * 100)) is None
