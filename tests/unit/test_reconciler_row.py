"""A row of the spend log is read as it is, or said to be odd, and never left out in silence."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.row import OddRow, SpendLog, part_of, read_row
from tests.inputs import spend_log_captures as captures

START = "2026-11-26T05:25:39.865+00:00"


def sent(**fields: object) -> bytes:
    """A row as `/spend/logs/v2` shows it."""
    return json.dumps({"request_id": "r-1", "startTime": START, **fields}).encode()


def read(row: bytes) -> SpendLog:
    """A row that must be one."""
    found = read_row(row)
    assert isinstance(found, SpendLog), found
    return found


@pytest.mark.parametrize("version", captures.VERSIONS)
def test_every_captured_row_is_read_alike_from_both_routes(version: str) -> None:
    paged = [read(row) for row in captures.rows(version)]
    listed = [read(row) for row in captures.listed_rows(version)]
    for one, other in zip(paged, listed, strict=True):
        for name in SpendLog.__struct_fields__:
            if name not in {"metadata", "spend"}:
                assert (name, getattr(one, name)) == (name, getattr(other, name))
    assert {one.cache_hit for one in paged} == {None, False, True}
    assert all(one.litellm_call_id for one in paged)


def test_rows_before_their_insert_are_read_with_metadata_and_tags_in_json_text() -> None:
    for built in captures.built_rows():
        row = read(built.row)
        assert row.litellm_call_id == built.callback_call_id
        assert isinstance(row.tags, list)
        assert row.metadata.user_api_key_user_id == row.user


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", Decimal(0)),
        ("0.0003300000000000001", Decimal("0.0003300000000000001")),
        ("0.00033000000000000005", Decimal("0.00033000000000000005")),
        ("4.8e-05", Decimal("4.8e-05")),
        ("null", None),
        ("-0.5", Decimal("-0.5")),
    ],
)
def test_MONEY_IS_EXACT_spend_keeps_the_digits_that_were_sent(
    text: str, amount: Decimal | None
) -> None:
    row = read(sent(spend=0.125).replace(b"0.125", text.encode()))
    assert row.spend == amount
    assert amount is None or str(row.spend) == str(amount)


def test_what_is_not_there_is_none() -> None:
    row = read(sent(end_user="", model_group="", cache_hit="None", metadata=None, status=None))
    assert (row.end_user, row.model_group, row.cache_hit, row.litellm_call_id) == (None,) * 4
    assert (row.status, row.tags, row.spend, row.end) == ("success", [], None, None)
    assert row.ended == row.start == datetime(2026, 11, 26, 5, 25, 39, 865_000, UTC)


def test_an_older_row_has_call_id_and_status_in_its_metadata() -> None:
    row = read(sent(metadata={"litellm_call_id": "c-1", "status": "failure"}))
    assert (row.litellm_call_id, row.status) == ("c-1", "failure")


@pytest.mark.parametrize("moment", [START, "2026-11-26T05:25:39.865Z", "2026-11-26 05:25:39.865"])
def test_a_time_is_in_utc_with_or_without_a_zone(moment: str) -> None:
    assert read(sent(startTime=moment)).start == datetime(2026, 11, 26, 5, 25, 39, 865_000, UTC)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (sent(request_id=None), "request_id is None"),
        (sent(request_id=" "), "request_id"),
        (sent(startTime=None), "startTime is missing"),
        (sent(startTime="noon"), "startTime is 'noon', not a time"),
        (sent(endTime=7), "endTime is 7, not a time"),
        (sent(spend="0.1"), 'spend is "0.1"'),
        (sent(spend=True), "spend is true"),
        (sent(prompt_tokens="8"), "prompt_tokens is '8', not a count"),
        (sent(cache_hit="perhaps"), "cache_hit is 'perhaps'"),
        (sent(metadata=[1]), "metadata cannot be read"),
        (sent(metadata="{"), "metadata cannot be read"),
        (sent(request_tags="["), "request_tags"),
        (sent(request_tags=7), "request_tags is 7"),
        (b'["a"]', "no object"),
        (b'{"request_id": ', "no object"),
    ],
)
def test_an_odd_row_says_what_is_wrong_with_it(row: bytes, words: str) -> None:
    found = read_row(row)
    assert isinstance(found, OddRow)
    assert words in found.fault


def test_an_odd_row_is_known_by_its_id_where_it_has_one() -> None:
    found = read_row(sent(spend="free"))
    assert isinstance(found, OddRow)
    assert found.request_id == "r-1"


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = plain | st.lists(plain, max_size=2) | st.dictionaries(st.text(max_size=3), plain)
NAMES = [*json.loads(captures.rows("1.110.2")[0]), "nothing"]


@given(st.dictionaries(st.sampled_from(NAMES), values, max_size=5))
def test_whatever_a_row_holds_it_is_read_or_odd(fields: dict[str, Any]) -> None:
    found = read_row(sent(**fields))
    assert isinstance(found, OddRow) or part_of(found.metadata.error_information) is not None


@given(st.binary(max_size=30))
def test_whatever_the_bytes_are_there_is_an_answer(row: bytes) -> None:
    assert isinstance(read_row(row), OddRow)
