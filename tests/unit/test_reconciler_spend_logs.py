"""The spend log is read to its end, whatever the proxy does meanwhile, or it is said why not."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.spend_log_table import Answer, SpendLogTable
from reconciler.answers import (
    RouteMissingError,
    TruncatedError,
    UnknownShapeError,
)
from reconciler.spend_logs import Page, SpendLogs, Window, ahead, windows
from tests.doubles.spend_log_server import Fault
from tests.inputs import spend_log_captures as captures
from tests.unit.spend_log_reading import DAY, IDS, LISTED, PAGED, VERSION, TableProxy, reading
from tests.waiting import eventually


def test_every_row_of_a_window_comes_once_the_oldest_first_in_pages() -> None:
    with reading(10) as reader:
        pages = reader.pages()
        rows = [row for page in pages for row in page.rows]
        assert [len(page.rows) for page in pages] == [10, 10, 10, 3]
        assert {row.request_id for row in rows} == IDS
        assert [row.start for row in rows] == sorted(row.start for row in rows)
        assert {path for path, _ in reader.server.asked} == {PAGED}
        first = reader.server.asked[0][1]
        assert first["start_date"] == "2026-11-26 00:00:00"
        assert (first["sort_by"], first["sort_order"]) == ("startTime", "asc")
        assert reader.waited == []


def test_it_reads_on_where_the_total_is_capped() -> None:
    table = SpendLogTable(VERSION, cap=5)
    table.fill(captures.shown(VERSION))
    with reading(7, table) as reader:
        assert set(reader.ids()) == IDS


def test_a_window_holds_what_began_in_it_to_the_millisecond() -> None:
    with reading() as reader:
        starts = sorted(datetime.fromisoformat(row["startTime"]) for row in captures.shown(VERSION))
        middle = starts[10]
        (page,) = reader.pages(Window(middle, starts[20]))
        assert [row.start for row in page.rows] == [
            start for start in starts if middle <= start < starts[20]
        ]
        assert page.outside > 0
        cut = list(windows(DAY.start, DAY.end, timedelta(hours=7)))
        assert sorted(id_ for window in cut for id_ in reader.ids(window)) == sorted(IDS)


def test_windows_touch_and_end_with_the_time_that_is_asked_for() -> None:
    cut = list(windows(DAY.start, DAY.end, timedelta(hours=7)))
    assert [window.start for window in cut[1:]] == [window.end for window in cut[:-1]]
    assert (cut[0].start, cut[-1].end, len(cut)) == (DAY.start, DAY.end, 4)
    assert list(windows(DAY.end, DAY.start, timedelta(hours=1))) == []
    with pytest.raises(ValueError, match="length"):
        list(windows(DAY.start, DAY.end, timedelta(0)))


def test_the_calls_of_an_external_run_are_found_by_its_end_user() -> None:
    with reading(5) as reader:
        paged = reader.ids(end_user="acme")
        assert len(paged) == 14
        reader.server.gone.add(PAGED)
        older = SpendLogs(reader.proxy, 5).pages(DAY, "acme")
        assert sorted(row.request_id for page in older for row in page.rows) == sorted(paged)


def test_rows_that_come_late_shift_pages_and_no_row_comes_twice() -> None:
    shown = sorted(captures.shown(VERSION), key=lambda row: str(row["startTime"]))
    table = SpendLogTable(VERSION)
    table.fill(shown[5:])
    with reading(10, table) as reader:
        pages = reader.logs.pages(DAY)
        first = next(pages)
        table.fill(shown[:5])  # older than all that was read
        rest = list(pages)
        ids = [row.request_id for page in [first, *rest] for row in page.rows]
        assert len(ids) == len(set(ids)) == 28
        assert rest[0].repeated == 5
        # The next window that overlaps finds those.
        assert set(reader.ids()) == IDS


@pytest.mark.parametrize(("most", "asked"), [(100, [1_000, 100]), (7, [1_000, 7])])
def test_a_proxy_that_gives_fewer_rows_at_a_time_is_asked_for_as_many(
    most: int, asked: list[int]
) -> None:
    table = SpendLogTable(VERSION, most_rows=most)
    table.fill(captures.shown(VERSION))
    with reading(1_000, table) as reader:
        assert set(reader.ids()) == IDS
        sizes = dict.fromkeys(int(each["page_size"]) for _, each in reader.server.asked)
        assert list(sizes) == asked
        reader.server.asked.clear()
        reader.ids()
        assert {each["page_size"] for _, each in reader.server.asked} == {str(most)}


def test_a_limit_without_a_number_is_met_by_smaller_pages() -> None:
    refusal = Answer(422, {"detail": [{"loc": ["query", "page_size"], "msg": "too large"}]})
    with reading(1_000) as reader:
        reader.server.faults.extend([Fault(refusal), Fault(refusal)])
        assert set(reader.ids()) == IDS
        sizes = dict.fromkeys(each["page_size"] for _, each in reader.server.asked)
        assert list(sizes) == ["1000", "100", "50"]
        reader.server.faults.extend([Fault(refusal)] * 10)
        with pytest.raises(UnknownShapeError, match="refuses 1 rows"):
            reader.ids()


def test_odd_rows_are_counted_with_words_and_their_neighbours_read() -> None:
    rows = captures.shown(VERSION)[:3]
    body = {"data": [rows[0], {**rows[1], "spend": "free"}, "no row", rows[2]], "page": 1}
    with reading() as reader:
        reader.server.faults.append(Fault(Answer(200, body)))
        page = reader.pages()[0]
        assert [row.request_id for row in page.rows] == [rows[at]["request_id"] for at in (0, 2)]
        assert [odd.request_id for odd in page.odd] == [rows[1]["request_id"], None]
        assert page.odd[0].fault == 'spend is "free"'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"rows": []}, "another shape"),
        ([], "another shape"),
        ({"data": None, "page": 1}, "another shape"),
        ({"data": []}, "another shape"),
        ({"data": [], "page": 7}, "page 7"),
    ],
)
def test_a_page_of_another_shape_is_an_error_that_says_so(body: object, words: str) -> None:
    with reading() as reader:
        reader.server.faults.append(Fault(Answer(200, body)))
        with pytest.raises(UnknownShapeError, match=words):
            reader.ids()
        assert len(reader.server.asked) == 1


def test_a_proxy_that_does_not_turn_the_page_is_found_out() -> None:
    body = {"data": captures.shown(VERSION)[:2], "page": 1}
    with reading() as reader:
        reader.server.faults.extend([Fault(Answer(200, body))] * 3)
        with pytest.raises(UnknownShapeError, match="page 2, the proxy answers page 1"):
            reader.ids()
        assert len(reader.server.asked) == 2


@pytest.mark.parametrize("version", captures.VERSIONS)
def test_without_v2_the_deprecated_route_gives_the_same_rows(version: str) -> None:
    table = SpendLogTable(version)
    table.fill(captures.shown(version))
    with reading(10, table) as reader:
        paged = [row for page in reader.pages() for row in page.rows]
        reader.server.gone.add(PAGED)
        older = SpendLogs(reader.proxy, 10)
        pages = list(older.pages(DAY))
        rows = [row for page in pages for row in page.rows]
        assert max(len(page.rows) for page in pages) == 10
        assert {row.request_id for row in rows} == {row.request_id for row in paged}
        assert [row.start for row in rows] == sorted(row.start for row in rows)
        asked = reader.server.asked[-1]
        assert asked[0] == LISTED
        assert asked[1] == {
            "start_date": "2026-11-26", "end_date": "2026-11-27", "summarize": "false",
        }  # fmt: skip
        list(older.pages(DAY))
        assert [path for path, _ in reader.server.asked].count(PAGED) == 6  # found missing once


def test_days_are_asked_for_one_by_one() -> None:
    with reading() as reader:
        reader.server.gone.add(PAGED)
        reader.ids(Window(DAY.start + timedelta(hours=23), DAY.end + timedelta(hours=1)))
        days = [each["start_date"] for path, each in reader.server.asked if path == LISTED]
        assert days == ["2026-11-26", "2026-11-27"]


def test_rows_that_the_deprecated_route_leaves_out_are_an_error_unless_they_are_older() -> None:
    table = SpendLogTable(VERSION, cap=10)
    table.fill(captures.shown(VERSION))
    with reading(10, table) as reader:
        reader.server.gone.add(PAGED)
        with pytest.raises(TruncatedError, match="newest 10 rows of 2026-11-26"):
            reader.ids()
        newest = sorted(row["startTime"] for row in captures.shown(VERSION))[-5:]
        late = Window(datetime.fromisoformat(newest[0]), DAY.end)
        assert len(reader.ids(late)) == 5


def test_sums_by_day_are_no_rows() -> None:
    with reading() as reader:
        reader.server.gone.add(PAGED)
        sums = reader.server.table.answer(
            LISTED, {"start_date": "2026-11-26", "end_date": "2026-11-27"}
        )
        reader.server.faults.extend([Fault(), Fault(sums)])
        with pytest.raises(UnknownShapeError, match="sums by day"):
            reader.ids()


def test_no_route_at_all_is_said_with_what_to_look_at() -> None:
    with reading() as reader:
        reader.server.gone.update({PAGED, LISTED})
        with pytest.raises(RouteMissingError, match="LITELLM_URL"):
            reader.ids()


def test_a_row_is_read_when_it_becomes_visible() -> None:
    now = [0.0]
    table = SpendLogTable(VERSION, now=lambda: now[0], delay=8)
    table.accept(json.loads(one) for one in captures.callbacks(VERSION))
    with reading(10, table) as reader:
        assert reader.ids() == []
        now[0] = float("inf")
        assert len(reader.ids()) == len(IDS)


@given(
    there=st.lists(st.integers(0, 59), max_size=40),
    late=st.lists(st.lists(st.integers(0, 59), max_size=6), max_size=12),
    size=st.integers(1, 9),
)
def test_whatever_is_inserted_meanwhile_what_was_there_comes_once(
    there: list[int], late: list[list[int]], size: int
) -> None:
    template, names = {**captures.shown(VERSION)[0], "metadata": {}}, iter(range(1_000))

    def rows(seconds: list[int]) -> list[dict[str, Any]]:
        moments = [f"2026-11-26T05:25:{second:02}.000+00:00" for second in seconds]
        return [
            {**template, "request_id": f"r-{next(names)}", "startTime": moment, "endTime": moment}
            for moment in moments
        ]

    table, waiting = SpendLogTable(VERSION), [rows(seconds) for seconds in late]
    first = rows(there)
    table.fill(first)
    proxy = TableProxy(table, lambda: table.fill(waiting.pop(0) if waiting else []))
    pages = SpendLogs(proxy, size).pages(DAY)
    ids = [row.request_id for page in pages for row in page.rows]
    assert len(ids) == len(set(ids))
    assert {row["request_id"] for row in first} <= set(ids)


def test_the_next_page_is_read_while_one_is_worked_on_and_no_further() -> None:
    asked = list[int]()

    def pages() -> Iterator[Page]:
        for number in range(4):
            asked.append(number)
            yield Page([], [], repeated=number, outside=0)
        raise RouteMissingError("gone")

    reading = ahead(pages())
    for number in range(4):
        assert next(reading).repeated == number
        read = min(4, number + 2)
        eventually(partial(_reaches, asked, read), "the next page")
        assert len(asked) == read
    with pytest.raises(RouteMissingError, match="gone"):
        next(reading)


def _reaches(asked: list[int], count: int) -> bool:
    return len(asked) >= count
