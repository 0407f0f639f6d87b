"""The cost in a callback: every digit of what is money, and nothing that is none."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import reader
from schemas.text import storable
from tests.inputs.callbacks import (
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


NO_MONEY = [
    *("-1", "-1e-30", "-0.1e3", "-0.0123"),
    *("NaN", "Infinity", "-Infinity", "1e400", "1e999999999999999999999", "9" * 5_000),
    *("1000000000.01", "1e300", "1e-61", "1e-999999999"),
    *('"0.1"', '""', "true", "false", "[1]", "[]", '{"usd": 1}', '"' + "x" * 5_000 + '"'),
]


@pytest.mark.parametrize("text", NO_MONEY, ids=lambda text: text[:20])
def test_08_a_cost_that_is_no_money_is_kept_as_it_was_sent_in_both_readings(text: str) -> None:
    for value in (costing(text), leniently(costing(text))):
        reading = reader.read_callback(value)
        assert reading.callback.response_cost is None
        assert reading.sent_cost == (text if len(text) <= 200 else text[:200] + "…")
        assert reading.identity == reader.read_callback(costing("1")).identity


@given(text=st.sampled_from(NO_MONEY), spaces=st.sampled_from(["", " ", "\n\t"]))
def test_of_a_cost_that_occurs_twice_the_last_one_is_kept(text: str, spaces: str) -> None:
    value = costing(f'7, "response_cost":{spaces}{text}{spaces}')
    assert reader.read_callback(value).sent_cost == reader.read_callback(costing(text)).sent_cost


def test_the_text_of_a_cost_can_be_stored() -> None:
    for sent in (rb'"a\u0000b"', b'"a\xffb"', rb'"\ud800"', b'"\x00"'):
        value = costing("@").replace(b'"response_cost": @', b'"response_cost": ' + sent)
        kept = reader.read_callback(value).sent_cost
        assert kept is not None
        assert "\x00" not in kept
        assert storable(kept) == kept


@pytest.mark.parametrize("zero", ["0", "0.0", "-0", "-0.0", "0e0", "0E-400", "0e400"])
def test_zero_is_zero_however_it_is_written(zero: str) -> None:
    assert str(cost(zero)) == "0"


@pytest.mark.parametrize("absent", [None, ...])
def test_no_cost_is_no_zero(absent: object) -> None:
    assert read_callback(element(response_cost=absent))[0].response_cost is None
