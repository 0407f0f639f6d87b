"""MONEY_IS_EXACT: from the text of a price to whole credits, with one rounding and no float."""

from decimal import Decimal, getcontext, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.money import CREDITS_PER_USD, charge, credits_of, usd_of
from schemas.receipt import plain
from tests.inputs.callbacks import charged, costing, policy

COSTS = st.decimals(min_value=0, max_value=10**9, places=60) | st.decimals(
    min_value=0, max_value=10, allow_nan=False, places=25
)
MARKUPS = st.decimals(min_value=0, max_value=100, places=9)


def ceiling(exact: Fraction) -> int:
    """The least whole number that is not less."""
    return -(-exact.numerator // exact.denominator)


@pytest.mark.parametrize(
    ("cost", "markup", "credited"),
    [
        ("1", "1.0", 10_000_000),
        ("0.00000011", "1.0", 2),
        ("0.0006261", "2", 12_522),
        ("0.00000125", "2", 25),
        ("1.25e-06", "2", 25),
        ("0", "2", 0),
        ("0.000036", "0", 0),
        ("1e-60", "1", 1),
        ("1e-60", "0.00000000001", 1),
        ("0.0000001", "1", 1),
        ("0.00000010000000000000000000000000000000001", "1", 2),
        ("0.00033000000000000005", "1", 3_301),
        ("1000000000", "100", 10**18),
        ("123456789.123456789123456789", "1.1", 1_358_024_680_358_025),
    ],
)
def test_MONEY_IS_EXACT_the_vectors(cost: str, markup: str, credited: int) -> None:
    assert charge(Decimal(cost), Decimal(markup))[1] == credited


@given(cost=COSTS, markup=MARKUPS)
def test_MONEY_IS_EXACT_against_fractions(cost: Decimal, markup: Decimal) -> None:
    charged_usd, credited = charge(cost, markup)
    assert Fraction(charged_usd) == Fraction(cost) * Fraction(markup)
    assert credited == ceiling(Fraction(cost) * Fraction(markup) * CREDITS_PER_USD)


@given(cost=COSTS, markup=MARKUPS)
def test_the_callers_decimal_context_changes_nothing(cost: Decimal, markup: Decimal) -> None:
    expected = charge(cost, markup)
    with localcontext() as context:
        context.prec = 5
        context.rounding = "ROUND_DOWN"
        assert charge(cost, markup) == expected
    assert getcontext().prec == 28


@given(numerator=st.integers(1, 10**15), places=st.integers(0, 25))
def test_MONEY_IS_EXACT_from_the_bytes_to_the_receipt(numerator: int, places: int) -> None:
    """Plain and scientific notation of one price are one charge, whatever a float makes of it."""
    text = f"{numerator}e-{places}"
    exact = Fraction(numerator, 10**places)
    written = f"{Decimal(text):f}"
    if exact > 10**9:
        return
    receipts = [charged(costing(form), policy(markup="1.37")).receipt for form in (text, written)]
    for receipt in receipts:
        assert Fraction(receipt.response_cost_usd) == exact
        assert Fraction(receipt.charged_usd) == exact * Fraction("1.37")
        assert receipt.charged_credits == ceiling(exact * Fraction("1.37") * CREDITS_PER_USD)


def test_two_calls_of_a_hundred_and_twenty_five_millionths_cost_25_credits_each() -> None:
    for text in ("0.00000125", "1.25e-06"):
        assert charged(costing(text), policy(markup="2")).receipt.charged_credits == 25


@given(COSTS)
def test_plain_notation_keeps_every_digit(cost: Decimal) -> None:
    text = plain(cost)
    assert "E" not in text.upper()
    assert Decimal(text).as_tuple() == cost.as_tuple()


@given(credits_=st.integers(-(10**19), 10**19))
def test_MONEY_IS_EXACT_credits_are_dollars_and_back(credits_: int) -> None:
    usd = usd_of(credits_)
    assert Fraction(usd) * CREDITS_PER_USD == credits_
    assert credits_of(usd) == credits_


@pytest.mark.parametrize(
    ("credits_", "text"), [(1, "0.0000001"), (-25, "-0.0000025"), (10**8, "10"), (0, "0")]
)
def test_credits_are_told_in_plain_dollars(credits_: int, text: str) -> None:
    assert plain(usd_of(credits_)) == text


@pytest.mark.parametrize("usd", ["0.00000001", "1.23456789", "1e-60", "1e-5000", "-0.00000015"])
def test_dollars_that_are_no_whole_number_of_credits_are_refused(usd: str) -> None:
    with pytest.raises(ValueError, match="at most seven digits"):
        credits_of(Decimal(usd))
