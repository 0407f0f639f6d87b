"""The cost in an element: every digit of what is money, and nothing that is none."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.element import ContractError
from tests.services.callbacks import (
    NUMBER,
    costing,
    element,
    leniently,
    read_callback,
)


def cost(text: str) -> Decimal | None:
    return read_callback(costing(text))[0].response_cost


@pytest.mark.parametrize(
    "text",
    [
        "0.1",
        "3.6e-05",
        "6.1499999999999996e-06",
        "0.00033000000000000005",
        "1.234567890123456789012345678901234",
        "0.1000000000000000055511151231257827021181583404541015625",
        "123456789.000000000000000000000000000001",
        "1E-25",
        "1000000000",
    ],
)
@pytest.mark.parametrize("lenient", [False, True])
def test_MONEY_IS_EXACT_every_digit_of_the_text_arrives(*, text: str, lenient: bool) -> None:
    value = leniently(costing(text)) if lenient else costing(text)
    callback, was_lenient = read_callback(value)
    assert callback.response_cost is not None
    assert str(callback.response_cost) == str(Decimal(text))
    assert was_lenient == lenient


@pytest.mark.parametrize("field", ["saved_cache_cost", "total_cost"])
@pytest.mark.parametrize("lenient", [False, True])
def test_the_other_amounts_are_exact_too(*, field: str, lenient: bool) -> None:
    digits = "1.234567890123456789012345678901234"
    fields: dict[str, Any] = (
        {"cost_breakdown": {field: NUMBER}} if field == "total_cost" else {field: NUMBER}
    )
    value = element(digits, **fields)
    callback, _ = read_callback(leniently(value) if lenient else value)
    amounts = {
        "saved_cache_cost": callback.saved_cache_cost,
        "total_cost": callback.cost_breakdown and callback.cost_breakdown.total_cost,
    }
    assert str(amounts[field]) == digits


@given(
    st.lists(st.sampled_from(["1E-6", "0.000001", "1.0e-6", "0.0000010", "10e-7"]), min_size=2),
)
def test_any_form_of_a_number_is_the_same_amount(forms: list[str]) -> None:
    assert {cost(form) for form in forms} == {Decimal("0.000001")}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-1", "negative_cost"),
        ("-1e-30", "negative_cost"),
        ("-0.1e3", "negative_cost"),
        ("NaN", "non_finite_cost"),
        ("Infinity", "non_finite_cost"),
        ("-Infinity", "non_finite_cost"),
        ("1e400", "non_finite_cost"),
        ("1e999999999999999999999", "non_finite_cost"),
        ("9" * 5_000, "non_finite_cost"),
        ("1000000000.01", "cost_out_of_range"),
        ("1e300", "cost_out_of_range"),
        ("1e-61", "cost_out_of_range"),
        ("1e-999999999", "cost_out_of_range"),
        ('"0.1"', "contract_broken"),
        ('""', "contract_broken"),
        ("true", "contract_broken"),
        ("false", "contract_broken"),
        ("[1]", "contract_broken"),
        ("[]", "contract_broken"),
        ('{"usd": 1}', "contract_broken"),
    ],
)
def test_a_cost_that_is_no_money_is_refused_in_both_readings(text: str, reason: str) -> None:
    for value in (costing(text), leniently(costing(text))):
        with pytest.raises(ContractError) as refused:
            read_callback(value)
        assert refused.value.reason == reason


@pytest.mark.parametrize("zero", ["0", "0.0", "-0", "-0.0", "0e0", "0E-400", "0e400"])
def test_zero_is_zero_however_it_is_written(zero: str) -> None:
    assert str(cost(zero)) == "0"


@pytest.mark.parametrize("absent", [None, ...])
def test_no_cost_is_no_zero(absent: object) -> None:
    assert read_callback(element(response_cost=absent))[0].response_cost is None
