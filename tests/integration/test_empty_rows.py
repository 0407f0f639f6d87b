"""Where no row is, a program still reads which columns there are; people read the period."""

import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from operator_cli.__main__ import app
from producer_gateway.__main__ import cli
from tests.processes.consuming import Consuming
from tests.unit.test_operator_help import LEAVES

PERIOD = ("--from", "2026-11-01", "--to", "2026-12-01")
NOVEMBER = "from 2026-11-01 00:00:00 UTC, before 2026-12-01 00:00:00 UTC"
EMPTY: dict[tuple[str, ...], list[tuple[str, ...]]] = {
    ("report",): [
        ("--table", table, *PERIOD) for table in ("receipts", "runs", "accounts", "deferred")
    ],
    ("spend",): [("--by", "team,day", *PERIOD)],
    ("statement",): [("nobody", "2026-11")],
    ("accounts",): [(), ("--account", "nobody"), ("--all",)],
    ("holds",): [(), ("--account", "nobody", "--state", "held")],
    ("credit", "entries"): [("nobody",)],
    ("credit", "limits"): [()],
    ("correct", "list"): [(), ("--account", "nobody")],
    ("correct", "open"): [()],
    ("credit", "audit"): [()],
    ("estimate", "rates"): [(), ("--days", "30")],
    ("estimate", "backtest"): [PERIOD, (*PERIOD, "--balance", "5")],
    ("explain",): [("nobody-knows-it",)],
    ("deferred", "list"): [(), ("--settled",)],
    ("deferred", "apply-rule"): [()],
    ("findings", "list"): [(), ("--closed",)],
    ("dead-letters", "list"): [(), ("--since", "2026-11-01")],
    ("dead-letters", "replay"): [(), ("--until", "2026-11-01")],
    ("replay",): [(), ("--from-offset", "0:0"), ("--from-time", "2026-11-01")],
    ("verify",): [()],
    ("topics",): [()],
    ("doctor",): [()],
    ("migrate",): [(), ("--check",)],
    ("spool", "list"): [()],
    ("spool", "inspect"): [()],
    ("spool", "salvage"): [()],
}
"""Each command that prints rows, and arguments with which it finds none, or always some."""
ONE_ROW = {
    ("correct", "receipt"),
    ("credit", "correct"),
    ("credit", "grant"),
    ("credit", "limit"),
    ("credit", "refund"),
    ("credit", "write-off"),
    ("dead-letters", "show"),
    ("deferred", "accept"),
    ("deferred", "settle"),
    ("deferred", "waive"),
    ("findings", "close"),
    ("spool", "drain"),
}
"""Commands that print one row about what they were told to do, or fail."""


ASKS_A_PROXY = {("audit",)}
"""Seen in `test_reconciler.py`."""
OF_ONE_CALL = {("deferred", "history"), ("run",)}
"""An error where there is none; seen in `test_deferral_transitions.py` and `test_runs.py`."""


def ran(path: tuple[str, ...], *arguments: str, environment: dict[str, str]) -> tuple[str, str]:
    """What a command printed on each output; it may end with 1, as `explain` of nothing does."""
    whole = cli if path[0] == "spool" else app
    done = CliRunner().invoke(whole, [*path, *arguments], env=dict(environment))
    assert done.exit_code in {0, 1}, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.stdout, done.stderr


def test_every_command_prints_the_names_of_its_columns_without_any_row(
    consuming: Consuming, tmp_path: Path
) -> None:
    assert set(LEAVES) == {*EMPTY, *ONE_ROW, *ASKS_A_PROXY, *OF_ONE_CALL}, (
        "a command is missing here"
    )
    consuming.member()
    environment = consuming.environment(GATEWAY_SPOOL_DIR=str(tmp_path))
    for path, calls in EMPTY.items():
        for arguments in calls:
            printed, _ = ran(path, *arguments, "--csv", environment=environment)
            names, *rows = list(csv.reader(io.StringIO(printed)))
            assert len(names) > 1, (path, printed)
            assert all(name and name == name.strip() for name in names)
            printed, _ = ran(path, *arguments, "--json", environment=environment)
            told = json.loads(printed)
            if isinstance(told, list) and rows:
                assert list(told[0]) == names, path
            if path not in {("topics",), ("doctor",), ("spool", "inspect")}:
                assert rows == [], path


@pytest.mark.parametrize(
    ("path", "arguments", "said"),
    [
        (("report",), PERIOD, f"calls that ended {NOVEMBER}"),
        (("dead-letters", "list"), ("--since", "2026-11-01T01:00+01:00"), "parked from 2026-11-01"),
        (("dead-letters", "replay"), ("--until", "2026-11-01"), "parked before 2026-11-01"),
        (("replay",), ("--from-time", "2026-11-01"), "callbacks from 2026-11-01 00:00:00 UTC"),
    ],
)
def test_the_period_is_said_with_its_zone(
    consuming: Consuming, path: tuple[str, ...], arguments: tuple[str, ...], said: str
) -> None:
    consuming.member()
    environment = consuming.environment()
    assert said in ran(path, *arguments, environment=environment)[0]
    printed, beside = ran(path, *arguments, "--json", environment=environment)
    assert said in beside
    json.loads(printed)
