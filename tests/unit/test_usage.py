"""Usage units: whatever an executor says is refused at the door, or fits the table."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from charging.decision import decide
from charging.outcomes import Parked, Usage
from schemas.usage import UsageUnit
from tests.inputs.callbacks import USAGE_UNITS, policy, record, usage_unit

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
        assert UsageUnit.model_validate_json(taken.model_dump_json()) == taken


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
