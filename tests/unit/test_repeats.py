"""A call whose amount is written with fewer digits the second time is a repeat, no conflict."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.repeats import repeats, same_amount
from tests.inputs.callbacks import charged, costing, element

amounts = st.floats(min_value=1e-12, max_value=1e6, allow_nan=False)


@given(amounts)
def test_an_amount_of_16_digits_is_that_of_17(cost: float) -> None:
    assert same_amount(Decimal(repr(cost)), Decimal(f"{cost:.16g}"))


@given(amounts, st.integers(1, 9))
def test_amounts_that_differ_by_a_part_in_a_trillion_are_two(cost: float, parts: int) -> None:
    assert not same_amount(Decimal(repr(cost)), Decimal(repr(cost * (1 + parts * 1e-12))))
    assert not same_amount(Decimal(repr(cost)), Decimal(0))


@given(amounts)
def test_the_next_number_that_a_computer_knows_is_the_same_amount(cost: float) -> None:
    assert same_amount(Decimal(repr(cost)), Decimal(repr(math.nextafter(cost, math.inf))))


@pytest.mark.parametrize("first", ["0.0003300000000000001", "0.00033000000000000005"])
def test_the_callback_repeats_the_receipt_made_of_its_row_and_the_other_way_round(
    first: str,
) -> None:
    other = {"0.0003300000000000001", "0.00033000000000000005"} - {first}
    written, late = charged(costing(first)), charged(costing(other.pop()))
    assert written.content_hash != late.content_hash
    assert repeats(late, written.content_hash, written.receipt.response_cost_usd)


@pytest.mark.parametrize(
    "late",
    [
        costing("0.00033000000000000005", prompt_tokens=121),
        costing("0.00033000000000000005", end_user="acct-2"),
        costing("0.00033000000000000005", model_group="gpt-4o"),
        costing("0.00034"),
        costing("0.000330000000001"),
    ],
    ids=["tokens", "account", "model", "dearer", "a little dearer"],
)
def test_what_says_something_else_is_no_repeat(late: bytes) -> None:
    written, charge = charged(costing("0.0003300000000000001")), charged(late)
    assert not repeats(charge, written.content_hash, written.receipt.response_cost_usd)


def test_a_charge_repeats_itself() -> None:
    charge = charged(element())
    assert repeats(charge, charge.content_hash, Decimal(0))
