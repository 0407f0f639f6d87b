"""What a correction makes of a charge, whatever is asked for."""

import math
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.corrections import Charged, CorrectionError, Wish, change, markup_of
from charging.money import CREDITS_PER_USD, charge
from operator_cli.undecided import conflicts_of, twins_of
from schemas.correction import CorrectionReason

REFUND, PRICE, LATE, TWIN, CONFLICT = CorrectionReason
NOW = Charged(Decimal("0.00000125"), 13)
amounts = st.decimals(
    min_value=-1_000, max_value=1_000, allow_nan=False, allow_infinity=False, places=12
)


def of(reason: CorrectionReason, amount: str | None = None, to: str | None = None) -> Wish:
    """What is asked for."""
    return Wish(
        reason,
        None if amount is None else Decimal(amount),
        None if to is None else Decimal(to),
    )


@pytest.mark.parametrize(
    ("wish", "amount", "credits_", "then"),
    [
        (of(REFUND, to="0"), "-0.00000125", -13, ("0", 0)),
        (of(REFUND, amount="-0.00000005"), "-0.00000005", -1, ("0.0000012", 12)),
        (of(REFUND, amount="-0.00000001"), "-0.00000001", 0, ("0.00000124", 13)),
        (of(PRICE, to="0.0000013"), "0.00000005", 0, ("0.0000013", 13)),
        (of(LATE, amount="0.00000006"), "0.00000006", 1, ("0.00000131", 14)),
        (of(CONFLICT, amount="0"), "0", 0, ("0.00000125", 13)),
        (of(TWIN, to="0.00000125"), "0", 0, ("0.00000125", 13)),
    ],
)
def test_the_corrected_charge_is_rounded_up_once(
    wish: Wish, amount: str, credits_: int, then: tuple[str, int]
) -> None:
    made = change(NOW, wish)
    assert (made.amount_usd, made.amount_credits) == (Decimal(amount), credits_)
    assert made.charged == (Decimal(then[0]), then[1])


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (of(REFUND, amount="-0.00000126"), "no receipt may charge less than nothing"),
        (of(PRICE, to="-1"), "no receipt may charge less than nothing"),
        (of(REFUND, amount="0"), "charges 0.00000125 USD already"),
        (of(PRICE, to="0.00000125"), "charges 0.00000125 USD already"),
        (of(REFUND, amount="0.1"), "takes from the charge"),
        (of(TWIN, to="1"), "takes from the charge"),
        (of(LATE, amount="-0.0000001"), "late usage adds"),
        (of(PRICE), "say either"),
        (of(PRICE, "1", "1"), "say either"),
        (of(PRICE, to="NaN"), "a number with an end"),
        (of(PRICE, amount="-Infinity"), "a number with an end"),
        (of(PRICE, to="1E+30"), "charges at most"),
        (of(PRICE, amount="1E-2000"), "too many digits"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(wish: Wish, said: str) -> None:
    with pytest.raises(CorrectionError, match=said):
        change(NOW, wish)


@given(st.decimals(min_value=0, max_value=100, places=9), st.lists(amounts, max_size=12))
def test_however_often_it_is_corrected_the_sums_are_those_of_the_last_charge(
    usd: Decimal, wished: list[Decimal]
) -> None:
    first = now = Charged(*charge(usd, Decimal(1)))
    added, credits_ = Decimal(0), 0
    for amount in wished:
        try:
            made = change(now, Wish(PRICE, amount))
        except CorrectionError:
            assert now.usd + amount < 0 or not amount
            continue
        assert made.amount_usd == amount
        now = made.charged
        added, credits_ = added + made.amount_usd, credits_ + made.amount_credits
    assert (first.usd + added, first.credits + credits_) == now
    assert now.usd >= 0
    assert now.credits == math.ceil(Fraction(now.usd) * CREDITS_PER_USD)


def test_the_markup_is_that_of_the_receipt_where_it_tells() -> None:
    assert markup_of(Decimal("0.0006261"), Decimal("0.0012522"), Decimal(9)) == 2
    assert markup_of(Decimal(0), Decimal(0), Decimal(9)) == 9
    assert markup_of(Decimal(3), Decimal(1), Decimal(9)) == 9


def test_each_open_item_has_the_command_that_would_decide_it() -> None:
    row = {
        "number": 7,
        "found": None,
        "receipt": UUID(int=1),
        "call": "call-1",
        "account": "acme",
        "cost_usd": Decimal("0.5"),
        "charged_usd": Decimal(1),
        "now_usd": Decimal(1),
        "other_cost_usd": Decimal("0.25"),
        "other_account": "acme",
    }
    [one] = conflicts_of([row], Decimal(1))
    command = f"billing correct {UUID(int=1)} --to 0.5 --reason conflict --reference conflict-7"
    assert one["command"] == command
    [one] = conflicts_of([row | {"other_account": "globex"}], Decimal(1))
    assert one["says"] == "another callback: 0.5 USD on account globex"
    # No correction charges another account.
    assert "--to 1 " in one["command"]
    [one] = twins_of([row])
    assert one["command"].endswith(f"--to 0 --reason twin --reference twin-{UUID(int=1)}")
