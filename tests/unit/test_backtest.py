"""What holds would have done to past calls: coverage, ratio, refusals."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from charging.backtest import Afforded, Backtest, Judged, PastCall, Rules
from charging.estimate import Terms
from charging.learning import Learning, Sample

DAY = timedelta(days=1)
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
TERMS = Terms(Decimal(1), Decimal("0.06"), 100)
RULES = Rules(Learning(Decimal("0.995"), 10), TERMS, 7 * DAY, 1_000)
SECOND = timedelta(seconds=1)


def call(
    started: datetime,
    price: str = "1",
    *,
    account: str = "acme",
    lasting: timedelta = SECOND,
    tokens: int = 1_000,
    cache_hit: bool = False,
) -> PastCall:
    """A call whose tokens all have one price, in US dollars for a million of them."""
    cost = Decimal(0) if cache_hit else (tokens + 10) * Decimal(price) / 1_000_000
    sample = Sample(tokens, 10, cost)
    return PastCall("mini", account, started, started + lasting, sample, cache_hit)


def judged(calls: Sequence[PastCall], rules: Rules = RULES, since: datetime = FIRST) -> Judged:
    """What is told of calls in their order."""
    backtest = Backtest(rules, since)
    for one in sorted(calls, key=lambda one: one.started):
        backtest.take(one)
    assert sum(one.calls for one in backtest.models.values()) == backtest.total.calls
    return backtest.total


def of_day(day: int, price: str = "1", count: int = 20) -> list[PastCall]:
    """Calls over a day; days are counted from the first one that is judged."""
    begun = FIRST + day * DAY
    return [call(begun + at * timedelta(minutes=60), price) for at in range(count)]


def test_a_call_is_judged_by_what_was_known_before_its_day() -> None:
    # The price rises a hundredfold on the second day.
    told = judged([*of_day(-1), *of_day(0), *of_day(1, "100"), *of_day(2, "100")])
    assert (told.calls, told.cold, told.free) == (60, 0, 0)
    assert told.covered == 40
    assert told.share_covered == Decimal("0.666666")
    assert told.worst is not None
    assert 90 <= told.worst <= 100


def test_calls_before_the_time_are_learned_from_alone() -> None:
    assert judged(of_day(-1)).calls == 0
    assert judged(of_day(0)).cold == 20
    assert judged([*of_day(-1), *of_day(0)]).cold == 0


def test_what_is_older_than_the_window_is_forgotten() -> None:
    assert judged([*of_day(-7), *of_day(0)]).cold == 0
    assert judged([*of_day(-8), *of_day(0)]).cold == 20


def test_a_call_that_has_not_ended_is_not_known() -> None:
    begun = FIRST - timedelta(hours=1)
    running = [call(begun, lasting=timedelta(hours=2)) for _ in range(20)]
    assert judged([*running, call(FIRST + timedelta(hours=3))]).cold == 1


def test_calls_of_the_day_itself_push_nothing_out_before_they_are_judged() -> None:
    few = Rules(RULES.learning, TERMS, RULES.window, 10)
    assert judged([*of_day(-1), *of_day(0)], few).cold == 0


def test_only_the_chosen_accounts_are_judged_and_all_are_learned_from() -> None:
    backtest = Backtest(RULES, FIRST, chosen=lambda name: name == "other")
    for one in [*of_day(-1), *of_day(0), call(FIRST + timedelta(hours=23), account="other")]:
        backtest.take(one)
    assert (backtest.total.calls, backtest.total.cold) == (1, 0)


def test_an_answer_from_the_cache_is_no_lesson_and_has_no_ratio() -> None:
    hits = [call(one.started, cache_hit=True) for one in of_day(-1)]
    assert judged([*hits, *of_day(0)]).cold == 20
    # Nor does it take the place of one.
    few = Rules(RULES.learning, TERMS, RULES.window, 20)
    later = [call(FIRST - SECOND, cache_hit=True)] * 20
    assert judged([*of_day(-1), *later, *of_day(0)], few).cold == 0
    told = judged([*of_day(-1), call(FIRST, cache_hit=True)])
    assert (told.calls, told.free, told.share_covered, told.median_ratio) == (1, 1, None, None)
    assert told.held > 0


def test_the_median_is_that_of_held_over_charged() -> None:
    told = Judged()
    for held, charged in ((10, 10), (30, 10), (100, 10), (5, 10), (20, 10)):
        told.add(held, charged, cold=False)
    assert told.median_ratio == 2
    assert told.worst == 2
    assert told.share_covered == Decimal("0.8")


def at(second: float) -> datetime:
    """So many seconds into the time."""
    return FIRST + timedelta(seconds=second)


def test_calls_at_once_are_refused_for_what_the_others_hold() -> None:
    account = Afforded(100)
    account.ask(at(0), at(10), 60, 20)
    # 40 are left; it would have cost 20, and 80 were there.
    account.ask(at(1), at(9), 60, 20)
    # Its charge could not have been paid, either.
    account.ask(at(2), at(3), 90, 85)
    # The first has ended.
    account.ask(at(10), at(11), 60, 30)
    account.end()
    assert (account.calls, account.refused, account.refused_falsely) == (4, 2, 1)
    assert (account.balance, account.lowest) == (50, 50)


def test_what_is_not_covered_takes_the_balance_below_zero() -> None:
    account = Afforded(100)
    account.ask(at(0), at(1), 100, 130)
    account.ask(at(2), at(3), 0, 0)
    account.ask(at(2), at(3), 1, 1)
    account.end()
    assert (account.refused, account.refused_falsely, account.lowest) == (1, 0, -30)


asks = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(0, 60), st.integers(0, 60)),
    max_size=30,
)


@given(balance=st.integers(0, 300), told=asks)
def test_a_balance_is_never_below_zero_where_every_hold_covers(
    balance: int, told: list[tuple[int, int, int, int]]
) -> None:
    account = Afforded(balance)
    for start, length, charged, more in sorted(told):
        account.ask(at(start), at(start + length), charged + more, charged)
    account.end()
    assert account.lowest >= 0
    assert account.refused_falsely <= account.refused <= account.calls == len(told)
