"""Rows for programs: exact amounts, whole values, and nothing that a spreadsheet would compute."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from runtime.rows import Listing, Row, cell, csv_cell, csv_text, json_text

HOUR_AHEAD = timezone(timedelta(hours=1))


def test_json_has_amounts_as_text_and_times_in_utc() -> None:
    row = {
        "cost": Decimal("4.95E-7"),
        "at": datetime(2026, 11, 1, 1, tzinfo=HOUR_AHEAD),
        "age": timedelta(days=1, seconds=0.4),
        "calls": 3,
        "none": None,
    }
    assert json.loads(json_text([row])) == [
        {
            "cost": "0.000000495",
            "at": "2026-11-01T00:00:00+00:00",
            "age": 86_400,
            "calls": 3,
            "none": None,
        }
    ]


def test_json_shows_nothing_that_a_terminal_would_act_on() -> None:
    assert json_text(["\x1b[2Jé"]).isascii()
    assert "\x1b" not in json_text(["\x1b[2J"])


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"),
        ('=HYPERLINK("x")', '\'=HYPERLINK("x")'),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\t=1"),
        ("\r=1", "'\\r=1"),
        ("\n=1", "'\n=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("team-a", "team-a"),
        ("-0.0123", "-0.0123"),
        ("1e-5", "1e-5"),
        (Decimal("-0.0123"), "-0.0123"),
        (-3, "-3"),
        (["=1", "b"], "'=1 b"),
        (None, ""),
        (datetime(2026, 11, 1, tzinfo=UTC), "2026-11-01T00:00:00+00:00"),
    ],
)
def test_a_strangers_text_is_no_formula_and_our_numbers_stay_numbers(
    value: object, shown: str
) -> None:
    assert csv_cell(value) == shown


def test_csv_is_read_back_as_it_was() -> None:
    rows: list[Row] = [
        {"name": 'a "b", c\nd', "cost": Decimal("0.10")},
        {"name": None, "cost": Decimal(2)},
    ]
    assert list(
        csv.DictReader(io.StringIO(csv_text(Listing(("name", "cost"), rows)), newline=""))
    ) == [
        {"name": 'a "b", c\nd', "cost": "0.10"},
        {"name": "", "cost": "2"},
    ]


def test_csv_without_rows_is_the_line_of_names() -> None:
    assert csv_text(Listing(("name", "cost USD"), [])) == "name,cost USD\r\n"


def test_a_table_has_times_with_year_and_zone() -> None:
    assert cell(datetime(2026, 11, 1, 1, tzinfo=HOUR_AHEAD)) == "2026-11-01 00:00:00 UTC"
