"""Whatever a sender sends, the decision table holds."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from charging.account import HEALTH_CHECK
from charging.decision import SELF_TEST_MODEL, decide, is_free
from charging.outcomes import Charge, Deferred, Parked, Skipped, Usage
from schemas.headers import Reason
from tests.inputs.callbacks import (
    RECEIVED_MS,
    USAGE_UNITS,
    costing,
    policy,
    record,
    verdict,
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**21), 10**21),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(["success", "failure", "run/3", "free-1", "\x00", "\ud800", " ", "a" * 505]),
    st.sampled_from(["default_user_id", '{"run_id": 7}', '{"session_id": "x"}', 990017, 2**53]),
    st.floats(1.5e9, 1.9e9),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["run_id", "attempt", "runId"]), inner
        )
    ),
    max_leaves=6,
)
NO_MONEY = ("-1", "NaN", "Infinity", "1e400", "1e-400", '"0.1"', "true", "[]", "{}", "9" * 500,
            "1000000001")  # fmt: skip
COST_TEXTS = st.sampled_from(["0", "0.0", "-0", "null", "1e-6", "0.000036", *NO_MONEY])
EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
LATEST = datetime.fromtimestamp(RECEIVED_MS / 1_000, UTC) + timedelta(days=1)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "id": st.sampled_from(["x", "", None]) | ANYTHING,
    "litellm_call_id": ANYTHING,
    "status": st.sampled_from(["success", "failure"]) | ANYTHING,
    "model": st.sampled_from(["free-1", "", SELF_TEST_MODEL]) | ANYTHING,
    "model_group": st.sampled_from(["free-1", "paid", ""]) | ANYTHING,
    "cache_hit": st.booleans() | ANYTHING,
    "call_type": st.sampled_from(["acreate_file", "aretrieve_batch", "avideo_status", "anew"])
    | ANYTHING,
    "metadata": ANYTHING
    | st.fixed_dictionaries(
        {},
        optional={
            "spend_logs_metadata": ANYTHING,
            "user_api_key_alias": st.just(HEALTH_CHECK) | ANYTHING,
            "is_silent_experiment": ANYTHING,
            "usage_object": ANYTHING,
            "requester_custom_headers": ANYTHING
            | st.fixed_dictionaries({"x-litellm-spend-logs-metadata": ANYTHING}),
        },
    ),
}
OTHERS = (
    "stream", "saved_cache_cost", "cost_breakdown", "custom_llm_provider", "prompt_tokens",
    "completion_tokens", "total_tokens", "startTime", "endTime", "completionStartTime", "end_user",
    "request_tags", "error_str", "hidden_params",
)  # fmt: skip
WHOLE = LIKELY | dict.fromkeys(OTHERS, ANYTHING)


def the_only_zeros(value: bytes, charge: Charge) -> bool:
    """Whether a receipt of zero has one of the reasons that allow it."""
    sent = json.loads(value)
    free = is_free(charge.receipt.model or "", ("free-*",))
    return free or sent.get("cache_hit") is True


@given(cost=COST_TEXTS, fields=st.fixed_dictionaries({}, optional=WHOLE))
@example(cost="0", fields={"cache_hit": "yes"})
@example(cost="0", fields={"metadata": {"user_api_key_alias": HEALTH_CHECK}})
@example(cost="null", fields={"cache_hit": True})
@example(cost="0", fields={"model_group": " ", "model": "free-1"})
@example(cost="0", fields={"model_group": "\x00", "model": "free-1"})
@example(cost="1e-6", fields={"end_user": "\x00", "endTime": 1e300, "startTime": -1})
def test_NO_ZERO_RECEIPTS_FOR_PAID_MODELS_nor_placeholders_nor_exceptions(
    cost: str, fields: dict[str, Any]
) -> None:
    value = costing(cost, **fields)
    decision = verdict(value)
    assert isinstance(decision, Charge | Deferred | Skipped | Parked)
    if isinstance(decision, Parked):
        assert decision.reason in set(Reason)
    if isinstance(decision, Deferred):
        assert (decision.reason == "unusable_cost") == (decision.sent_cost is not None)
        assert (decision.reason == "unusable_cost") == (cost in NO_MONEY)
        assert EARLIEST <= decision.occurred_at <= LATEST
    if not isinstance(decision, Charge):
        return
    receipt = decision.receipt
    assert EARLIEST <= receipt.occurred_at <= LATEST
    assert receipt.call_key
    assert receipt.billing_account_id not in {"", "default_user_id"}
    # NO_PLACEHOLDER_RECEIPTS: the amount is the number in the text, or a zero with a reason.
    exact = Decimal(0) if cost == "null" else Decimal(cost)
    assert receipt.response_cost_usd == exact
    assert (receipt.charged_credits > 0) == (exact > 0)
    assert exact > 0 or the_only_zeros(value, decision)


@given(st.binary(max_size=60))
@example(b"")
@example(b"null")
@example(b'{"id": "x", "status": "success", "response_cost": 1' + b" " * 10)
def test_any_bytes_at_all_are_decided(value: bytes) -> None:
    assert isinstance(verdict(value), Charge | Deferred | Skipped | Parked)
    assert isinstance(decide(record(value, topic=USAGE_UNITS), policy()), Usage | Parked)
