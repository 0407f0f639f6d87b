"""What rounds of faults are judged by that ask a spend guard: promises, and ends of holds."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.chaos.books import Call, Fate
from tests.chaos.guarded import charged
from tests.chaos.holds import ENDS, Asked, HoldRow, Plan, Promises, misheld


def asked(plan: Plan = Plan.MADE, name: str = "1", cost: str = "0.000001") -> Asked:
    """An ask that was answered with a hold."""
    call = Call(f"resp-{name}", f"call-{name}", "run", Fate.RECEIPT, cost)
    return Asked("acct", call, 10, plan, None, ENDS[plan], hold=str(uuid4()))


def row(one: Asked, state: str) -> HoldRow:
    """The hold of an ask, ended so; with its receipt where that has captured it."""
    if state != "captured":
        return HoldRow("acct", one.call.call_id, str(one.hold), state, None, None, None)
    receipt = one.call.response_id
    return HoldRow("acct", one.call.call_id, str(one.hold), state, 10, receipt, 10)


@pytest.mark.parametrize(
    ("plan", "state"),
    [
        (Plan.MADE, "captured"),
        (Plan.FAILED, "expired"),
        (Plan.FALLBACK, "captured"),
        (Plan.FALLBACK, "expired"),
        (Plan.NEVER, "released"),
        (Plan.FORGOTTEN, "expired"),
    ],
)
def test_a_hold_ends_as_its_call_has_it_and_in_no_other_way(plan: Plan, state: str) -> None:
    one = asked(plan)
    assert misheld([one], [row(one, state)]) == []
    for other in {"held", "captured", "released", "expired"} - ENDS[plan]:
        assert misheld([one], [row(one, other)]), other


def test_a_hold_that_may_have_been_answered_ends_in_any_way_but_it_ends() -> None:
    one = asked()
    one.doubt()
    for state in ("captured", "released", "expired"):
        assert misheld([one], [row(one, state)]) == []
    assert misheld([one], [row(one, "held")])
    one.hold = None
    assert misheld([one], []) == []


def test_a_hold_is_there_if_it_was_answered_and_only_if_it_was_asked_for() -> None:
    one, other = asked(), asked(name="2")
    assert misheld([one], []) == ["the hold of call-1 is gone"]
    assert len(misheld([one], [row(one, "captured"), row(other, "captured")])) == 1
    twice = row(one, "captured")._replace(hold=str(uuid4()))
    assert "nobody was given" in misheld([one], [row(one, "captured"), twice])[0]


def test_a_hold_is_captured_by_the_receipt_of_its_call_for_what_that_charges() -> None:
    one, other = asked(), asked(name="2")
    mine, others = row(one, "captured"), row(other, "captured")
    assert misheld([one], [mine._replace(response_id="resp-2")])
    assert misheld([one], [mine._replace(captured=9)])
    same = others._replace(response_id="resp-1")
    assert "resp-1 has captured 2 holds" in misheld([one, other], [mine, same])


def test_what_is_promised_beyond_what_was_given_is_told() -> None:
    promises = Promises(100)
    promises.add(60)
    promises.take_back(50)
    promises.add(90)
    assert promises.broken == []
    promises.add(1)
    assert promises.broken == ["101 credits promised of 100"]
    without_end = Promises(None)
    without_end.add(10**9)
    assert without_end.broken == []


def test_a_promise_that_nobody_ends_counts_until_its_time_is_over() -> None:
    promises, now = Promises(100), datetime.now(UTC)
    promises.add(100, now - timedelta(seconds=1))
    promises.add(100, now + timedelta(hours=1))
    assert promises.broken == []
    promises.add(1)
    assert promises.broken


@pytest.mark.parametrize(
    ("cost", "credits_"), [("0.0", 0), ("0.0000001", 1), ("0.00000011", 2), ("0.25", 2_500_000)]
)
def test_a_call_is_charged_in_whole_credits_upwards(cost: str, credits_: int) -> None:
    assert charged(asked(cost=cost).call) == credits_
