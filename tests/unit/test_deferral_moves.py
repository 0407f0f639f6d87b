"""How a deferral may end: every step of the table, and every other event, which changes nothing."""

from datetime import timedelta
from decimal import Decimal
from itertools import product
from typing import Any, Final

import pytest

from charging.charge import DECIDED
from charging.outcomes import Resolution
from charging.settlement import (
    CHARGES,
    MOVES,
    BreakdownRule,
    Event,
    State,
    charged,
    moved,
    state_of,
)

ONE_OF: Final = {
    State.OPEN: (None,),
    State.SETTLED: (
        *(Resolution.CALLBACK, Resolution.SPEND_LOG, Resolution.COST_BREAKDOWN),
        *(Resolution.SETTLED, Resolution.RESULT, Resolution.ACCEPTED),
    ),
    State.WRITTEN_OFF: (Resolution.WAIVED, Resolution.NO_CHARGE),
    State.REOPENED: (Resolution.REOPENED,),
    State.UPHELD: (Resolution.UPHELD,),
}
"""Every resolution, by how a deferral that has it stands."""
ALL: Final = list(product(State, Event))


def test_every_resolution_is_a_state_and_every_state_can_be_reached() -> None:
    named = {one: state for state, resolutions in ONE_OF.items() for one in resolutions}
    assert set(named) == {None, *Resolution}
    assert {one: state_of(one) for one in named} == named
    assert {state_of(one) for one in MOVES.values()} | {State.OPEN} == set(State)


@pytest.mark.parametrize(("state", "event"), [one for one in ALL if one in MOVES])
def test_a_step_of_the_table_is_taken(state: State, event: Event) -> None:
    for resolution in ONE_OF[state]:
        assert moved(resolution, event) is MOVES[state, event]
    assert state_of(MOVES[state, event]) is not state


@pytest.mark.parametrize(("state", "event"), [one for one in ALL if one not in MOVES])
def test_any_other_event_leaves_a_deferral_as_it_stands(state: State, event: Event) -> None:
    assert all(moved(resolution, event) is None for resolution in ONE_OF[state])


def test_a_charge_settles_what_is_open_reopens_what_is_written_off_and_nothing_else() -> None:
    for source in (*CHARGES, "one of a later release"):
        reached = charged(None, source)
        assert reached
        assert state_of(reached) is State.SETTLED
        for waived in ONE_OF[State.WRITTEN_OFF]:
            assert charged(waived, source) is Resolution.REOPENED
        for state in (State.SETTLED, State.REOPENED, State.UPHELD):
            assert not any(charged(one, source) for one in ONE_OF[state])
    assert len({charged(None, source) for source in CHARGES}) == len(CHARGES)
    assert set(CHARGES) >= DECIDED


RULE: Final = BreakdownRule(("gpt-*",), timedelta(hours=24))
CALL: Final[dict[str, Any]] = {
    "reason": "suspicious_zero",
    "model": "gpt-4o",
    "suggested_cost_usd": Decimal("0.01"),
    "age": timedelta(hours=24),
}


def test_the_rule_takes_an_old_call_of_a_listed_model() -> None:
    assert RULE.takes(**CALL)
    assert RULE.takes(**CALL | {"reason": "missing_cost"})


@pytest.mark.parametrize(
    "fields",
    [
        *({"reason": one} for one in ("unusable_cost", "awaiting_create", "ambiguous_read")),
        *({"model": one} for one in ("claude", None)),
        *({"suggested_cost_usd": one} for one in (None, Decimal(0))),
        {"age": timedelta(hours=23, minutes=59)},
    ],
)
def test_the_rule_leaves_any_other_call_to_a_person(fields: dict[str, Any]) -> None:
    assert not RULE.takes(**CALL | fields)


def test_the_rule_is_off_where_no_model_is_listed() -> None:
    assert not BreakdownRule((), timedelta(0)).takes(**CALL)
