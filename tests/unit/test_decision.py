"""The decision table, row by row and in its order, and what no payload can bring about."""

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.account import HEALTH_CHECK
from charging.decision import SELF_TEST_MODEL, decide, is_free
from charging.outcomes import Charge, Deferred, Parked, Skipped, Usage
from schemas.receipt import ChargeReason
from tests.inputs.callbacks import (
    NUMBER,
    USAGE_UNITS,
    charged,
    costing,
    element,
    policy,
    record,
    usage_unit,
    verdict,
)

ZERO: dict[str, Any] = {"response_cost": 0}
FREE: dict[str, Any] = {"model_group": "free-1", "model": "openai/whatever"}
PROBE: dict[str, Any] = {"metadata": {"user_api_key_alias": HEALTH_CHECK}}
PROBE_TEAM: dict[str, Any] = {"metadata": {"user_api_key_team_id": HEALTH_CHECK}}
SHADOW: dict[str, Any] = {"metadata": {"is_silent_experiment": True}}
FAILED: dict[str, Any] = {"status": "failure"}
REFUSED: dict[str, Any] = {"metadata": {"spend_logs_metadata": {"billing_hold": "refused"}}}
HIT: dict[str, Any] = {"cache_hit": True}
NOBODY: dict[str, Any] = {"id": "", "litellm_call_id": None}
FILE: dict[str, Any] = {"call_type": "acreate_file"}


def outcome(**fields: object) -> str:
    """The decision in one word, with its reason and the amount if it is a charge."""
    match verdict(element(**fields)):
        case Charge(receipt):
            amount = "0" if receipt.response_cost_usd == 0 else "cost"
            return f"receipt {receipt.charge_reason} {amount} {receipt.billing_account_id}"
        case Deferred(reason) | Skipped(reason) as decision:
            return f"{type(decision).__name__.lower()} {reason}"
        case Parked(reason):
            return f"parked {reason}"
    raise AssertionError("a callback is no usage unit")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # parked comes before everything
        ({**NOBODY}, "parked no_usable_id"),
        ({**NOBODY, **FAILED}, "parked no_usable_id"),
        ({**NOBODY, "model": SELF_TEST_MODEL}, "parked no_usable_id"),
        ({"id": None, "call_type": "aretrieve_batch"}, "parked no_usable_id"),
        ({"status": None}, "parked contract_broken"),
        ({"status": None, "response_cost": -1}, "parked contract_broken"),
        # the self-test
        ({"model": SELF_TEST_MODEL, "response_cost": 0}, "skipped self_test"),
        ({"model": SELF_TEST_MODEL}, "skipped self_test"),
        ({"model": SELF_TEST_MODEL, **FAILED}, "skipped self_test"),
        ({"model_group": SELF_TEST_MODEL}, "receipt usage cost acct-1"),
        ({"model": SELF_TEST_MODEL, "response_cost": -1}, "skipped self_test"),
        # a cost that is no money, whatever else is said
        ({"response_cost": -0.0123}, "deferred unusable_cost"),
        ({"response_cost": "0.1"}, "deferred unusable_cost"),
        ({"response_cost": True, **FAILED}, "deferred unusable_cost"),
        ({"response_cost": -1e-9, **HIT}, "deferred unusable_cost"),
        ({"response_cost": float("nan"), **FREE}, "deferred unusable_cost"),
        ({"response_cost": float("inf")}, "deferred unusable_cost"),
        ({"response_cost": 2e9}, "deferred unusable_cost"),
        ({"response_cost": [], **FILE}, "deferred unusable_cost"),
        ({"response_cost": -1, **PROBE}, "deferred unusable_cost"),
        # a cost, whatever else is said
        ({}, "receipt usage cost acct-1"),
        ({"id": None}, "receipt usage cost acct-1"),
        ({"litellm_call_id": ""}, "receipt usage cost acct-1"),
        (FAILED, "receipt partial cost acct-1"),
        ({"status": "cancelled"}, "receipt partial cost acct-1"),
        (HIT, "receipt usage cost acct-1"),
        (FREE, "receipt usage cost acct-1"),
        (FILE, "receipt usage cost acct-1"),
        ({**FILE, **FAILED}, "receipt partial cost acct-1"),
        ({"prompt_tokens": 0, "completion_tokens": 0}, "receipt usage cost acct-1"),
        ({"call_type": None, "model": None, "model_group": None}, "receipt usage cost acct-1"),
        (PROBE, "receipt health_probe cost internal"),
        (PROBE_TEAM, "receipt health_probe cost internal"),
        (SHADOW, "receipt silent_experiment cost internal"),
        ({**PROBE, **FAILED}, "receipt health_probe cost internal"),
        # nothing to charge for a failure
        ({"response_cost": 0, **FAILED}, "skipped failed_call"),
        ({"response_cost": None, **FAILED}, "skipped failed_call"),
        ({"response_cost": 0, **FAILED, **HIT}, "skipped failed_call"),
        ({"response_cost": 0, **FAILED, **FREE}, "skipped failed_call"),
        ({"response_cost": 0, "status": "SUCCESS"}, "skipped failed_call"),
        ({"response_cost": 0, **FAILED, **REFUSED}, "skipped refused_call"),
        (FAILED | REFUSED, "receipt partial cost acct-1"),
        # zeros with a reason
        ({"response_cost": 0, **HIT}, "receipt cache_hit 0 acct-1"),
        ({"response_cost": 0, **HIT, **FREE}, "receipt cache_hit 0 acct-1"),
        ({"response_cost": 0, **HIT, **FILE}, "receipt cache_hit 0 acct-1"),
        ({"response_cost": None, **HIT}, "deferred missing_cost"),
        ({"response_cost": 0, **FREE}, "receipt free_model 0 acct-1"),
        ({"response_cost": None, **FREE}, "receipt free_model 0 acct-1"),
        ({"response_cost": ..., **FREE}, "receipt free_model 0 acct-1"),
        ({"response_cost": 0, **FREE, **FILE}, "receipt free_model 0 acct-1"),
        (ZERO | {"model_group": None, "model": "free-2"}, "receipt free_model 0 acct-1"),
        (ZERO | {"model_group": "", "model": "free-2"}, "receipt free_model 0 acct-1"),
        # no inference
        ({"response_cost": 0, **FILE}, "skipped not_billable"),
        ({"response_cost": 0.0, "call_type": "aget_responses"}, "skipped not_billable"),
        ({"response_cost": None, **FILE}, "deferred missing_cost"),
        (
            {"response_cost": 0, "call_type": "aretrieve_batch", "prompt_tokens": 0,
             "completion_tokens": 0},
            "skipped not_billable",
        ),
        ({"response_cost": 0, "call_type": "aretrieve_batch"}, "deferred suspicious_zero"),
        # zeros without one
        ({"response_cost": 0}, "deferred suspicious_zero"),
        ({"response_cost": -0.0}, "deferred suspicious_zero"),
        (ZERO | {"model_group": "paid", "model": "free-1"}, "deferred suspicious_zero"),
        ({"response_cost": 0, "model_group": "FREE-1"}, "deferred suspicious_zero"),
        ({"response_cost": 0, "model_group": "not-free-1"}, "deferred suspicious_zero"),
        ({"response_cost": 0, "cache_hit": False}, "deferred suspicious_zero"),
        ({"response_cost": 0, "cache_hit": "True"}, "deferred suspicious_zero"),
        ({"response_cost": 0, "cache_hit": 1}, "deferred suspicious_zero"),
        ({"response_cost": 0, "call_type": None}, "deferred suspicious_zero"),
        ({"response_cost": 0, "model": None, "model_group": None}, "deferred suspicious_zero"),
        ({"response_cost": None}, "deferred missing_cost"),
        ({"response_cost": ...}, "deferred missing_cost"),
    ],
)  # fmt: skip
def test_the_first_line_of_the_table_that_fits(fields: dict[str, Any], expected: str) -> None:
    assert outcome(**fields) == expected


def test_only_a_success_with_an_error_is_marked_as_left_by_its_client() -> None:
    left = charged(element(error_str="Client disconnected the request")).receipt
    broken = charged(element(error_str="boom", **FAILED)).receipt
    assert left.charge_reason is ChargeReason.USAGE
    assert left.marks == ["client_disconnected"]
    assert broken.marks == ["partial"]


def test_a_cache_hit_keeps_what_it_saved_and_is_marked() -> None:
    charge = charged(element("0.000036", response_cost=0, saved_cache_cost=NUMBER, **HIT))
    assert charge.saved_cache_cost == Decimal("0.000036")
    assert charge.receipt.marks == ["cache_hit"]
    assert charged(element(saved_cache_cost=0.5)).saved_cache_cost is None


def test_a_probe_stays_on_the_internal_account_and_says_that_it_is_partial() -> None:
    receipt = charged(element(**PROBE, **FAILED)).receipt
    assert {"health_probe", "partial"} <= set(receipt.marks)


@pytest.mark.parametrize(
    "claim",
    [
        {"request_tags": [HEALTH_CHECK]},
        {"end_user": HEALTH_CHECK},
        {"metadata": {"user_api_key_user_id": HEALTH_CHECK}},
        {"metadata": {"spend_logs_metadata": {"user_api_key_alias": HEALTH_CHECK}}},
        {"metadata": {"requester_metadata": {"user_api_key_alias": HEALTH_CHECK}}},
        {"metadata": {"requester_custom_headers": {"x-litellm-tags": HEALTH_CHECK}}},
        {"metadata": {"spend_logs_metadata": {"is_silent_experiment": True}}},
        {"is_silent_experiment": True},
        {"metadata": {"is_silent_experiment": "true"}},
        {"metadata": {"is_silent_experiment": 1}},
    ],
)
def test_no_client_moves_its_bill_to_the_internal_account(claim: dict[str, Any]) -> None:
    receipt = charged(element(**claim)).receipt
    assert receipt.charge_reason is ChargeReason.USAGE
    assert receipt.billing_account_id != "internal"


FIGURES = st.one_of(
    st.none(),
    st.floats(allow_nan=True),
    st.text(max_size=5),
    st.fixed_dictionaries({"total_cost": st.floats(), "original_cost": st.floats()}),
    st.fixed_dictionaries({"response_cost": st.floats(), "model_map_value": st.none()}),
)


@given(
    cost=st.sampled_from(["0.000036", "0", "null", "1e-9"]),
    figures=st.fixed_dictionaries(
        {
            "cost_breakdown": FIGURES,
            "hidden_params": FIGURES,
            "model_map_information": FIGURES,
            "response_cost_failure_debug_info": FIGURES,
            "zero_cost_diagnostic": FIGURES,
            "cost_finalized": st.booleans(),
            "saved_cache_cost": st.floats(),
            "autorouter_savings": FIGURES,
        }
    ),
)
def test_COST_ORACLE_IS_LITELLM_no_other_figure_changes_the_outcome(
    cost: str, figures: dict[str, Any]
) -> None:
    plain, loaded = verdict(costing(cost)), verdict(costing(cost, **figures))
    assert type(plain) is type(loaded)
    if isinstance(plain, Charge) and isinstance(loaded, Charge):
        ignored = {"marks"}  # a bare NaN makes the text lenient, and that is marked
        told = [msgspec.structs.asdict(charge.receipt) for charge in (plain, loaded)]
        assert [told[0][name] for name in told[0].keys() - ignored] == [
            told[1][name] for name in told[0].keys() - ignored
        ]
        assert loaded.content_hash == plain.content_hash
    if isinstance(plain, Deferred) and isinstance(loaded, Deferred):
        assert loaded.reason == plain.reason


@pytest.mark.parametrize(
    ("total", "suggested"),
    [("3.6e-05", "0.000036"), ("0", None), ("-1", None), ("NaN", None), ('"1"', None)],
)
def test_a_positive_breakdown_of_a_deferred_call_is_a_suggestion(
    total: str, suggested: str | None
) -> None:
    deferred = verdict(element(total, response_cost=0, cost_breakdown={"total_cost": NUMBER}))
    assert isinstance(deferred, Deferred)
    assert deferred.suggested_cost_usd == (Decimal(suggested) if suggested else None)


def test_08_a_cost_that_is_no_money_is_kept_as_it_was_sent() -> None:
    deferred = verdict(costing("-0.0123", cost_breakdown={"total_cost": 0.5}))
    assert isinstance(deferred, Deferred)
    assert (deferred.reason, deferred.sent_cost) == ("unusable_cost", "-0.0123")
    assert deferred.suggested_cost_usd == Decimal("0.5")
    assert (deferred.call_key, deferred.run_id) == ("call-1|chatcmpl-1", "run-1")


HOLD = "0b7c1c9e-7d0e-4c8e-9a0e-0c1d2e3f4a5b"
HELD: dict[str, Any] = {"metadata": {"spend_logs_metadata": {"billing_hold": HOLD}}}
UNUSED: dict[str, Any] = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (ZERO | FAILED, "failed_call"),
        (ZERO | UNUSED | {"call_type": "asystemone"}, "no_usage"),
        (ZERO | UNUSED | {"call_type": "acreate_batch"}, "not_billable"),
        ({"response_cost": None, "call_type": "acreate_batch"} | UNUSED, "not_billable"),
    ],
)
def test_a_call_that_costs_nothing_by_rule_tells_its_hold(
    fields: dict[str, Any], expected: str
) -> None:
    skipped = verdict(element(**fields, **HELD))
    assert isinstance(skipped, Skipped)
    assert (skipped.reason, skipped.hold) == (expected, HOLD)


@pytest.mark.parametrize("fields", [{}, ZERO | FAILED, ZERO | HIT])
def test_an_experiment_does_not_end_the_hold_of_the_call_beside_it(fields: dict[str, Any]) -> None:
    beside = {"metadata": HELD["metadata"] | SHADOW["metadata"]}
    decision = verdict(element(**fields, **beside))
    assert isinstance(decision, Charge | Skipped)
    assert decision.hold is None


@pytest.mark.parametrize(
    "fields", [{"model": SELF_TEST_MODEL}, ZERO | FAILED | REFUSED], ids=["self-test", "refused"]
)
def test_what_never_had_a_hold_tells_none(fields: dict[str, Any]) -> None:
    skipped = verdict(element(**(HELD | fields)))
    assert isinstance(skipped, Skipped)
    assert skipped.hold is None


def test_the_names_of_a_refusal_hold_nothing_of_the_content() -> None:
    for value in (
        element(**NOBODY, messages="CANARY"),
        element(status=["CANARY"]),
        element(messages="CANARY")[:-9] + b"CANARY}",
        b'"CANARY"',
        b'["CANARY"]',
    ):
        parked = verdict(value)
        assert isinstance(parked, Parked), value
        assert "CANARY" not in parked.detail


def test_ADAPTERS_NEVER_BILL_a_usage_unit_is_kept_and_costs_nothing() -> None:
    unit = json.dumps(usage_unit()).encode()
    assert isinstance(decide(record(unit, topic=USAGE_UNITS), policy()), Usage)
    # The same bytes among the callbacks are no callback, and a callback among the units is no unit.
    assert isinstance(verdict(unit), Parked)
    assert isinstance(decide(record(element(), topic=USAGE_UNITS), policy()), Parked)


@pytest.mark.parametrize(
    "fault",
    [
        {"unit_id": "no uuid"},
        {"run_id": ""},
        {"run_id": "r" * 513},
        {"attempt": -1},
        {"tokens_in": -1},
        {"tokens_in": 10**20},
        {"finished_at": "2026-11-22T10:00:00"},
        {"finished_at": None},
        {"response_cost": 1},
        {"executor": "  "},
    ],
)
def test_a_usage_unit_that_breaks_its_contract_is_parked(fault: dict[str, Any]) -> None:
    unit = json.dumps(usage_unit(**fault)).encode()
    parked = decide(record(unit, topic=USAGE_UNITS), policy())
    assert isinstance(parked, Parked)
    assert parked.reason == "contract_broken"


@pytest.mark.parametrize(
    ("model", "pattern", "free"),
    [
        ("free-1", "free-*", True),
        ("free-1", "free-1", True),
        ("free-1", "free", False),
        ("openai/free-1", "*/free-*", True),
        ("a[1]", "a[[]1]", True),
        ("Free-1", "free-*", False),
        ("", "*", True),
        ("x", "", False),
    ],
)
def test_free_models_are_globs_over_the_whole_name(model: str, pattern: str, *, free: bool) -> None:
    assert is_free(model, (pattern,)) == free
