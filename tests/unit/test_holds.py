"""Holds: what each may become, and that no account is promised more than it has."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.holds import Account, Admission, HoldState, admit, may_become

ENDS = (HoldState.CAPTURED, HoldState.RELEASED, HoldState.EXPIRED)
CREDITS = st.integers(-(10**6), 10**6)


@pytest.mark.parametrize("end", ENDS)
def test_a_held_hold_may_be_captured_released_or_expire(end: HoldState) -> None:
    assert may_become(HoldState.HELD, end)


@pytest.mark.parametrize(
    ("state", "wanted"),
    [(one, HoldState.HELD) for one in HoldState] + list(product(ENDS, ENDS)),
)
def test_nothing_else_becomes_of_a_hold(state: HoldState, wanted: HoldState) -> None:
    assert not may_become(state, wanted)


def test_every_transition_is_one_of_these() -> None:
    assert len(ENDS) + len(HoldState) + len(ENDS) ** 2 == len(HoldState) ** 2


def test_what_is_admitted_is_not_there_for_the_next_and_what_is_refused_is() -> None:
    account = Account("prepaid", balance=100, held=30, limit=0)
    assert admit(account, [40, 31, 30, 1]) == [
        Admission(admitted=True, required=40, available=30),
        Admission(admitted=False, required=31, available=30),
        Admission(admitted=True, required=30, available=0),
        Admission(admitted=False, required=1, available=0),
    ]


def test_a_limit_lets_a_postpaid_account_go_below_zero_so_far() -> None:
    account = Account("postpaid", balance=-70, held=10, limit=100)
    assert account.available == 20
    assert [one.admitted for one in admit(account, [21, 20])] == [False, True]


def test_without_a_limit_everything_is_admitted() -> None:
    account = Account("postpaid", balance=-(10**12), held=0, limit=None)
    assert admit(account, [10**13]) == [Admission(admitted=True, required=10**13, available=None)]


def test_a_call_that_costs_nothing_is_admitted_on_an_overdrawn_account() -> None:
    account = Account("prepaid", balance=-5, held=0, limit=0)
    assert admit(account, [0, 1]) == [
        Admission(admitted=True, required=0, available=-5),
        Admission(admitted=False, required=1, available=-5),
    ]


@given(
    balance=CREDITS,
    held=st.integers(0, 10**6),
    limit=st.integers(0, 10**6),
    amounts=st.lists(st.integers(0, 10**6)),
)
def test_never_more_is_admitted_than_is_available(
    balance: int, held: int, limit: int, amounts: list[int]
) -> None:
    answers = admit(Account("postpaid", balance, held, limit), amounts)
    assert [one.required for one in answers] == amounts
    left = balance - held + limit
    for one in answers:
        # Whoever is refused could not have been admitted behind those before.
        assert one.admitted is (one.required == 0 or one.required <= left)
        left -= one.required if one.admitted else 0
        assert one.available == left
    taken = sum(one.required for one in answers if one.admitted)
    assert taken <= max(0, balance - held + limit)
