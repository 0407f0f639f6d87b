"""What movements of credits mean: thresholds that are crossed, accounts that are empty."""

from hypothesis import given
from hypothesis import strategies as st

from charging.balances import Balance, fallen, moved
from schemas.credits import CreditEventType as Type

AMOUNTS = st.integers(-(10**12), 10**12)
LEVELS = st.lists(st.integers(1, 10**12), max_size=4)


def account(balance: int, limit: int | None = 0) -> Balance:
    return Balance("acme", "postpaid" if limit or limit is None else "prepaid", balance, 7, limit)


def told(before: int, now: Balance, *levels: int) -> list[tuple[Type, int | None]]:
    return [(event.type, event.threshold) for event in fallen(before, now, levels)]


def test_a_threshold_is_crossed_when_less_than_it_is_left() -> None:
    assert told(101, account(100), 100) == []
    assert told(100, account(99), 100) == [(Type.THRESHOLD_CROSSED, 100)]
    assert told(99, account(98), 100) == []


def test_one_movement_crosses_all_that_lie_between_the_highest_first() -> None:
    crossed = [(Type.THRESHOLD_CROSSED, 100), (Type.THRESHOLD_CROSSED, 10)]
    assert told(500, account(9), 10, 100) == crossed
    assert told(500, account(-3), 10, 100) == [*crossed, (Type.EXHAUSTED, None)]


def test_nothing_is_left_at_zero_and_that_is_told_once() -> None:
    assert told(1, account(0)) == [(Type.EXHAUSTED, None)]
    assert told(0, account(-1)) == []


def test_a_limit_counts_to_what_is_left_and_without_one_nothing_ends() -> None:
    assert told(51, account(-1, limit=50), 50) == [(Type.THRESHOLD_CROSSED, 50)]
    assert told(50, account(-50, limit=50)) == [(Type.EXHAUSTED, None)]
    assert told(10**9, account(-(10**9), limit=None), 50) == []


def test_what_adds_credits_is_told_with_its_reason_and_takes_are_told_as_falls() -> None:
    [event] = moved(5, "grant", account(5), [10])
    assert (event.type, event.amount, event.reason) == (Type.TOPPED_UP, 5, "grant")
    assert (event.billing_account_id, event.kind, event.balance, event.held, event.limit) == (
        "acme", "prepaid", 5, 7, 0,
    )  # fmt: skip
    [event] = moved(-5, "correction", account(6), [10])
    assert (event.type, event.threshold, event.amount) == (Type.THRESHOLD_CROSSED, 10, None)
    assert moved(-5, "correction", account(6, limit=None), [10]) == []


@given(AMOUNTS, st.lists(st.integers(0, 10**12), max_size=8), LEVELS)
def test_many_small_falls_tell_what_one_large_fall_tells(
    first: int, steps: list[int], levels: list[int]
) -> None:
    seen, left = list[tuple[Type, int | None]](), first
    for step in steps:
        seen += told(left, account(left - step), *levels)
        left -= step
    assert sorted(seen, key=str) == sorted(told(first, account(left), *levels), key=str)
