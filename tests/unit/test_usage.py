"""Usage units: whatever an executor says is refused at the door, or fits the table."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from charging.decision import decide
from charging.outcomes import Parked, Usage
from schemas.usage import UsageUnit
from tests.inputs.callbacks import USAGE_UNITS, policy, record, usage_unit

RELEASED = Path(__file__).parents[1] / "repository" / "released" / "0.2.0"
NUMBERS = st.integers() | st.floats() | st.just(10**4_000)
TIMES = st.datetimes().map(datetime.isoformat)
OFFSETS = st.integers(-24 * 60, 24 * 60).map(
    lambda minutes: f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
)
MOMENTS = st.builds(str.__add__, TIMES, OFFSETS | st.just("Z"))
ANYTHING = NUMBERS | st.text() | MOMENTS | st.none() | st.booleans()
FIELDS = st.sampled_from(list(UsageUnit.model_fields))


@given(changed=st.dictionaries(FIELDS, ANYTHING, max_size=4), moment=MOMENTS)
@example({"finished_at": "9999-12-31T23:59:59-14:00"}, "2026-01-01T00:00:00Z")
@example({"finished_at": "0001-01-01T00:00:00+14:00"}, "2026-01-01T00:00:00Z")
@example({"finished_at": -62_167_219_200}, "2026-01-01T00:00:00Z")
@example({}, "2026-01-01T00:00:00+23:59")
@example({"run_id": "\ud800"}, "2026-01-01T00:00:00Z")
@example({"run_completed": True}, "2026-01-01T00:00:00Z")
@example({"run_completed": True, "response_id": "r-1"}, "2026-01-01T00:00:00Z")
def test_BILLING_NEVER_THROWS_a_unit_is_parked_or_fits_the_table(
    changed: dict[str, object], moment: str
) -> None:
    unit = {**usage_unit(), "started_at": moment, **changed}
    decision = decide(record(json.dumps(unit).encode(), topic=USAGE_UNITS), policy())
    assert isinstance(decision, Usage | Parked)
    if isinstance(decision, Usage):
        taken = decision.unit
        times = [taken.finished_at, *([taken.started_at] if taken.started_at else [])]
        assert all(time.utcoffset() == timedelta(0) for time in times)
        assert all(1970 <= time.year <= 9998 for time in times)
        assert not (taken.run_completed and (taken.litellm_call_id or taken.response_id))
        assert UsageUnit.model_validate_json(taken.model_dump_json()) == taken
        assert UsageUnit.model_validate_json(taken.value()) == taken


@pytest.mark.parametrize(
    "moment",
    [
        "9999-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
        "1969-12-31T23:59:59Z",
        "infinity",
        1e400,
        10**30,
    ],
)
def test_a_moment_that_the_table_cannot_give_back_is_refused(moment: object) -> None:
    unit = json.dumps(usage_unit(finished_at=moment))
    with pytest.raises(ValidationError):
        UsageUnit.model_validate_json(unit)


def test_a_moment_of_any_offset_is_kept_in_utc() -> None:
    unit = UsageUnit.model_validate_json(
        json.dumps(usage_unit(finished_at="2026-11-22T09:59:00-23:59"))
    )
    assert unit.finished_at == datetime(2026, 11, 23, 9, 58, tzinfo=UTC)
    assert unit.model_dump_json().count("2026-11-23T09:58:00Z") == 1


@pytest.mark.parametrize(
    "call",
    [
        {"litellm_call_id": "c-1"},
        {"response_id": "r-1"},
        {"litellm_call_id": "c-1", "response_id": "r-1"},
    ],
)
def test_the_end_of_a_run_that_names_a_call_is_refused_in_words(call: dict[str, str]) -> None:
    UsageUnit.model_validate(usage_unit(run_completed=False, **call))
    with pytest.raises(ValidationError, match="a unit with run_completed names no call"):
        UsageUnit.model_validate(usage_unit(run_completed=True, **call))


def test_the_end_of_a_run_may_say_anything_but_a_call() -> None:
    said = {
        "attempt": 2,
        "billing_account_id": "acme",
        "model": "gpt",
        "graph_id": "g",
        "sub_agent_id": "a",
        "parent_sub_agent_id": "p",
        "tool_call_id": "t",
        "tokens_in": 1,
        "tokens_out": 0,
        "started_at": "2026-11-22T09:00:00Z",
    }
    unit = UsageUnit.model_validate_json(json.dumps(usage_unit(run_completed=True, **said)))
    assert set(said) | set(usage_unit()) | {"run_completed"} == unit.model_fields_set
    assert json.loads(unit.value())["run_completed"] is True


def test_a_run_has_not_ended_unless_a_unit_says_so() -> None:
    assert not UsageUnit.model_validate(usage_unit()).run_completed


@pytest.mark.parametrize(
    "silent", [{}, {"run_completed": False, "billing_account_id": None}], ids=["none", "false"]
)
def test_a_record_says_nothing_that_older_consumers_do_not_know(silent: dict[str, object]) -> None:
    released = json.loads((RELEASED / "usage-unit.schema.json").read_text("utf-8"))
    unit = UsageUnit.model_validate(usage_unit(litellm_call_id="c-1", **silent))
    assert set(json.loads(unit.value())) == set(released["properties"])
