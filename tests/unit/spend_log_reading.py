"""The reconciler's reading of a spend log, from the server that stands in for LiteLLM."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from demo.spend_log_table import SpendLogTable
from reconciler.proxy import Answer, Patience, Proxy
from reconciler.spend_logs import Page, SpendLogs, Window
from tests.doubles.spend_log_server import KEY, SpendLogServer, serving
from tests.inputs import spend_log_captures as captures

_Read = TypeVar("_Read")

DAY = Window(datetime(2026, 11, 26, tzinfo=UTC), datetime(2026, 11, 27, tzinfo=UTC))
VERSION = "1.110.2"
IDS = {row["request_id"] for row in captures.shown(VERSION)}
PAGED, LISTED = "/spend/logs/v2", "/spend/logs"


class Reader:
    """A spend log, the server that it reads, and what it waited and told meanwhile."""

    def __init__(self, server: SpendLogServer, rows: int, **patience: Any) -> None:  # noqa: ANN401
        self.server = server
        self.waited: list[float] = []
        self.faults: list[str] = []
        self.keys = [KEY]
        settings = {"silence": 5.0, "tries": 4, "longest_pause": 2.0, "answer_bytes": 10**7}
        self.proxy = Proxy(
            server.url,
            lambda: self.keys[-1],
            Patience(**{**settings, **patience}),
            wait=self.waited.append,
            failed=self.faults.append,
        )
        self.logs = SpendLogs(self.proxy, rows)

    def pages(self, window: Window = DAY, end_user: str | None = None) -> list[Page]:
        """All pages of a window."""
        return list(self.logs.pages(window, end_user))

    def ids(self, window: Window = DAY, end_user: str | None = None) -> list[str]:
        """The ids of all rows of a window."""
        return [row.request_id for page in self.pages(window, end_user) for row in page.rows]


@contextmanager
def reading(
    rows: int = 1_000,
    table: SpendLogTable | None = None,
    **patience: Any,  # noqa: ANN401
) -> Iterator[Reader]:
    """A reader of the captured rows."""
    if table is None:
        table = SpendLogTable(VERSION)
        table.fill(captures.shown(VERSION))
    with serving(table) as server:
        reader = Reader(server, rows, **patience)
        with reader.proxy:
            yield reader


class TableProxy(Proxy):
    """A proxy without HTTP; `between` is called after each answer."""

    def __init__(self, table: SpendLogTable, between: Callable[[], None]) -> None:
        self.table = table
        self.between = between

    def ask(
        self, path: str, parameters: Mapping[str, str], read: Callable[[Answer], _Read]
    ) -> _Read:
        """Ask the table."""
        found = self.table.answer(path, parameters)
        answer = read(Answer(found.status, found.headers, json.dumps(found.body).encode()))
        self.between()
        return answer
