"""The spend log: the rows of a window of time, page by page.

`GET /spend/logs/v2` where the proxy has it, else the deprecated `GET /spend/logs`, which knows days
only and gives the newest 10,000 rows of each. At most a page is held at a time, or a day with the
deprecated route. A row that is inserted or deleted meanwhile may be missed: windows that overlap
find it later.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from reconciler.answers import (
    RouteMissingError,
    TooManyRowsError,
    TruncatedError,
    UnknownShapeError,
    page_of,
    rows_of,
)
from reconciler.proxy import Answer, Proxy
from reconciler.row import OddRow, SpendLog, read_row

_PAGED: Final = "/spend/logs/v2"
_DAILY: Final = "/spend/logs"
_TRUNCATED: Final = "x-litellm-spend-logs-truncated"
_OLDER_LIMIT: Final = 100
"""Rows at a time where the proxy does not say how many it gives: LiteLLM before 1.91."""
_REMEMBERED: Final = 50_000
"""Ids of rows that are remembered to leave out those that come again while pages shift."""
_SECOND: Final = timedelta(seconds=1)
_DAY: Final = timedelta(days=1)


class Window(msgspec.Struct, frozen=True):
    """Calls that began from `start` on and before `end`."""

    start: datetime
    end: datetime


class Page(msgspec.Struct, frozen=True):
    """Rows of a window, each for the first time, and what else came with them.

    `odd` are rows that could not be read; `repeated` and `outside` count those that had come before
    and those that are not of the window or of the end user that was asked for.
    """

    rows: list[SpendLog]
    odd: list[OddRow]
    repeated: int
    outside: int


def windows(start: datetime, end: datetime, length: timedelta) -> Iterator[Window]:
    """Cut the time from `start` to `end` into windows of at most `length`, the oldest first.

    Raises `ValueError` where `length` is nothing.
    """
    if length <= timedelta(0):
        raise ValueError("a window must have a length")
    while start < end:
        until = min(end, start + length)
        yield Window(start, until)
        start = until


def ahead(pages: Iterator[Page]) -> Iterator[Page]:
    """Yield `pages`, and read the next one meanwhile: two are held at most.

    Raises what reading raises, when it is the turn of the page that could not be read.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        coming = reader.submit(next, pages, None)
        while (page := coming.result()) is not None:
            coming = reader.submit(next, pages, None)
            yield page


class SpendLogs:
    """Reads the spend log of one proxy; `page_rows` is how many rows are asked for at a time."""

    def __init__(self, proxy: Proxy, page_rows: int) -> None:
        self._proxy = proxy
        self._page_rows = page_rows
        self._daily = False

    def pages(self, window: Window, end_user: str | None = None) -> Iterator[Page]:
        """Yield the rows of `window`, about the oldest first; only those of `end_user`, if given.

        Raises a `reconciler.answers.SpendLogError`; what was yielded before stands.
        """
        sieve = _Sieve(window, end_user)
        if not self._daily:
            try:
                for rows in self._paged(window, end_user):
                    yield sieve.page(rows)
            except RouteMissingError:
                self._daily = True
        if self._daily:
            for rows in self._by_day(window):
                for at in range(len(rows), 0, -self._page_rows):
                    yield sieve.page(reversed(rows[max(0, at - self._page_rows) : at]))

    def _paged(self, window: Window, end_user: str | None) -> Iterator[list[msgspec.Raw]]:
        """Yield pages until one is empty: the proxy counts no more than 10,000 rows."""
        page = 1
        asked = {
            "start_date": _second(window.start),
            # Rows of a second that the window ends in are asked for, too, and left out here.
            "end_date": _second(window.end + _SECOND),
            "sort_by": "startTime",
            "sort_order": "asc",
        }
        if end_user is not None:
            asked["end_user"] = end_user
        while True:
            try:
                rows = self._page(page, asked)
            except TooManyRowsError as error:
                self._page_rows, page = self._fewer(error), 1
                continue
            if not rows:
                return
            page += 1
            yield rows

    def _page(self, page: int, asked: dict[str, str]) -> list[msgspec.Raw]:
        parameters = {**asked, "page": str(page), "page_size": str(self._page_rows)}
        return self._proxy.ask(_PAGED, parameters, lambda answer: page_of(answer.body, page))

    def _fewer(self, error: TooManyRowsError) -> int:
        """Return how many rows to ask for instead."""
        most = error.most or (
            _OLDER_LIMIT if self._page_rows > _OLDER_LIMIT else self._page_rows // 2
        )
        if not 0 < most < self._page_rows:
            raise UnknownShapeError(
                f"the proxy refuses {self._page_rows} rows at a time and allows {most}"
            ) from error
        return most

    def _by_day(self, window: Window) -> Iterator[list[msgspec.Raw]]:
        """Yield the rows of each day, the newest first."""
        day = window.start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        while day < window.end:
            # Both midnights are within the days that are asked for.
            parameters = {
                "start_date": f"{day:%Y-%m-%d}",
                "end_date": f"{day + _DAY:%Y-%m-%d}",
                "summarize": "false",
            }
            answer = self._proxy.ask(_DAILY, parameters, _listed)
            if answer.truncated:
                _refuse_gap(answer.rows, max(window.start, day))
            yield answer.rows
            day += _DAY


class _Listed(msgspec.Struct, frozen=True):
    rows: list[msgspec.Raw]
    truncated: bool


def _listed(answer: Answer) -> _Listed:
    truncated = answer.headers.get(_TRUNCATED, "").lower() == "true"
    return _Listed(rows_of(answer.body), truncated)


def _refuse_gap(rows: list[msgspec.Raw], start: datetime) -> None:
    """Refuse the newest rows of a day where they do not reach back to `start`."""
    oldest = read_row(rows[-1]) if rows else None
    if isinstance(oldest, SpendLog) and oldest.start < start:
        return
    raise TruncatedError(
        f"the proxy gives only the newest {len(rows)} rows of {start:%Y-%m-%d} and has no "
        f"{_PAGED}: the others cannot be read. Update LiteLLM"
    )


def _second(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


class _Sieve:
    """Leaves out what came before and what was not asked for, and counts it."""

    def __init__(self, window: Window, end_user: str | None) -> None:
        self._window = window
        self._end_user = end_user
        self._seen: dict[str, None] = {}

    def page(self, sent: Iterable[msgspec.Raw]) -> Page:
        rows: list[SpendLog] = []
        odd: list[OddRow] = []
        repeated = outside = 0
        for text in sent:
            row = read_row(text)
            if isinstance(row, OddRow):
                odd.append(row)
            elif not self._wanted(row):
                outside += 1
            elif row.request_id in self._seen:
                repeated += 1
            else:
                self._remember(row.request_id)
                rows.append(row)
        return Page(rows, odd, repeated, outside)

    def _wanted(self, row: SpendLog) -> bool:
        if self._end_user is not None and row.end_user != self._end_user:
            return False
        return self._window.start <= row.start < self._window.end

    def _remember(self, request_id: str) -> None:
        self._seen[request_id] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
