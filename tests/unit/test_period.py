"""Moments that people write: UTC unless a zone is written, whatever zone the machine has."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from operator_cli.__main__ import app
from operator_cli.period import ALWAYS, Period
from runtime.moments import RULE, moment_of
from tests.unit.test_operator_help import COMMANDS

NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
BOUNDS = ("since", "until", "from_time")
"""The parameters that are moments, in every command that has one."""


@pytest.fixture(autouse=True, params=["UTC", "Asia/Tokyo", "America/New_York"])
def _zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-11-01", NOVEMBER),
        ("2026-11-01T09:30", NOVEMBER.replace(hour=9, minute=30)),
        ("2026-11-01 09:30:15", NOVEMBER.replace(hour=9, minute=30, second=15)),
        ("2026-11-01T09:30Z", NOVEMBER.replace(hour=9, minute=30)),
        ("2026-11-01T09:30+01:00", NOVEMBER.replace(hour=8, minute=30)),
        ("2026-11-01T09:30:00-0500", NOVEMBER.replace(hour=14, minute=30)),
    ],
)
def test_a_moment_is_in_utc_unless_a_zone_is_written(written: str, meant: datetime) -> None:
    assert moment_of(written) == meant
    assert moment_of(written).tzinfo == UTC


@pytest.mark.parametrize("written", ["", "yesterday", "2026-13-01", "0001-01-01T00:00+14:00"])
def test_what_is_no_moment_is_refused_with_the_forms_there_are(written: str) -> None:
    with pytest.raises(ValueError, match=r"2026-11-01T09:30\+01:00; UTC unless a zone is written"):
        moment_of(written)


@given(st.datetimes(timezones=st.timezones()))
def test_every_moment_of_a_program_is_read_as_it_was_written(moment: datetime) -> None:
    try:
        meant = moment.astimezone(UTC)
    except OverflowError:
        return
    assert moment_of(moment.isoformat()) == meant


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_reads_moments_by_the_one_rule(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    for parameter in command.params:
        if parameter.name not in BOUNDS:
            continue
        assert RULE in (getattr(parameter, "help", None) or "")
        required = [other.opts[0] for other in command.params if other.required]
        given = {parameter.opts[0], *required}
        words = [word for name in given if name.startswith("-") for word in (name, "2026-11-01")]
        words += ["anything" for name in given if not name.startswith("-")]
        assert command.make_context("", words).params[parameter.name] == NOVEMBER


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "--from", "11/2026"], "'11/2026' is no day and no time"),
        (["report", "--from", "2026-12-01", "--to", "2026-11-01"], "nothing is in it"),
        (["dead-letters", "list", "--since", "2026-12-01", "--until", "2026-12-01"], "nothing is"),
        (
            ["replay", "--since", "2026-12-02", "--until", "2026-12-01"],
            "begins at 2026-12-02 00:00",
        ),
    ],
)
def test_a_period_that_cannot_be_is_wrong_usage(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, arguments, terminal_width=200)
    assert done.exit_code == 2
    assert said in done.output


def test_a_period_is_told_with_its_zone() -> None:
    december = NOVEMBER.replace(month=12)
    assert str(Period(NOVEMBER, december)) == (
        "from 2026-11-01 00:00:00 UTC, before 2026-12-01 00:00:00 UTC"
    )
    assert str(Period(until=december)) == "before 2026-12-01 00:00:00 UTC"
    assert not str(ALWAYS)
