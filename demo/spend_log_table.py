"""LiteLLM's spend log behind its two routes, without the HTTP: rows, filters, pages and caps."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple

from demo.spend_log_rows import Row, listed, paged, row_of, stored

CAP: Final = 10_000
MOST_ROWS: Final = 1_000
_EQUAL: Final = {
    "end_user": "end_user",
    "api_key": "api_key",
    "team_id": "team_id",
    "user_id": "user",
    "model": "model",
    "model_id": "model_id",
    "model_group": "model_group",
}


class Answer(NamedTuple):
    """Status, body as JSON values, and headers beside the usual ones."""

    status: int
    body: Any
    headers: Mapping[str, str] = {}


class SpendLogTable:
    """A table of rows; `now` is its clock, `delay` the seconds from a call's end to its row.

    A row whose `request_id` is there is lost, as in LiteLLM: it is the primary key.
    """

    def __init__(
        self,
        version: str = "1.110.2",
        *,
        now: Callable[[], float] = lambda: float("inf"),
        delay: float = 0.0,
        cap: int = CAP,
        most_rows: int = MOST_ROWS,
    ) -> None:
        self.version = version
        self.lost = 0
        self.most_rows = most_rows
        self._now, self._delay, self._cap = now, delay, cap
        self._rows: dict[str, Row] = {}

    def fill(self, shown: Iterable[Mapping[str, Any]]) -> None:
        """Add rows that a proxy has shown."""
        for row in shown:
            self._insert(stored(row))

    def accept(self, callbacks: Iterable[Mapping[str, Any]]) -> None:
        """Add the rows of calls that callbacks tell of."""
        for callback in callbacks:
            self._insert(row_of(callback, self.version))

    def drop(self, request_id: str) -> None:
        """Take a row away, as retention does."""
        del self._rows[request_id]

    def _insert(self, row: Row) -> None:
        if row["request_id"] in self._rows:
            self.lost += 1
        self._rows.setdefault(row["request_id"], row)

    def _visible(self) -> list[Row]:
        now = self._now()
        return [row for row in self._rows.values() if row["endTime"] + self._delay <= now]

    def answer(self, path: str, asked: Mapping[str, str]) -> Answer:
        """Answer a question of a caller with the master key."""
        routes = {"/spend/logs/v2": self._paged, "/spend/logs": self._listed}
        route = routes.get(path)
        return route(asked) if route else Answer(404, {"detail": "Not Found"})

    def _paged(self, asked: Mapping[str, str]) -> Answer:
        page, size = int(asked.get("page", "1")), int(asked.get("page_size", "50"))
        if size > self.most_rows:
            return Answer(422, {"detail": [_too_many(self.most_rows)]})
        if "start_date" not in asked or "end_date" not in asked:
            return _refused("Start date and end date are required")
        try:
            start, end = _seconds(asked["start_date"]), _seconds(asked["end_date"])
        except ValueError as error:
            return _refused(str(error))
        found = [
            row
            for row in self._visible()
            if start <= row["startTime"] <= end and self._fits(row, asked)
        ]
        column = asked.get("sort_by", "startTime")
        found.sort(key=lambda row: row[column], reverse=asked.get("sort_order", "desc") == "desc")
        total = min(len(found), self._cap)
        shown = found[(page - 1) * size : page * size]
        return Answer(
            200,
            {
                "data": [paged(row) for row in shown],
                "total": total,
                "page": page,
                "page_size": size,
                "total_pages": -(-total // size),
                "total_is_capped": len(found) > self._cap,
            },
        )

    def _fits(self, row: Row, asked: Mapping[str, str]) -> bool:
        if any(row[column] != asked[name] for name, column in _EQUAL.items() if name in asked):
            return False
        wanted = asked.get("request_id")
        if wanted is not None and wanted not in {row["request_id"], row["litellm_call_id"]}:
            return False
        return asked.get("status_filter") in {None, row["status"]}

    def _listed(self, asked: Mapping[str, str]) -> Answer:
        # The route has no filter for the end user.
        asked = {name: value for name, value in asked.items() if name != "end_user"}
        found = [row for row in self._visible() if self._fits(row, asked)]
        if "start_date" in asked and "end_date" in asked:
            start, end = (_day(asked[name]) for name in ("start_date", "end_date"))
            found = [row for row in found if start <= row["startTime"] <= end]
            if asked.get("summarize", "true") != "false":
                return Answer(200, _sums(found, end))
        found.sort(key=lambda row: row["startTime"], reverse=True)
        cut = len(found) >= self._cap
        headers = {"x-litellm-spend-logs-truncated": "true"} if cut else {}
        return Answer(200, [listed(row) for row in found[: self._cap]], headers)


def _too_many(most: int) -> dict[str, Any]:
    return {
        "type": "less_than_equal",
        "loc": ["query", "page_size"],
        "msg": f"Input should be less than or equal to {most}",
    }


def _refused(message: str) -> Answer:
    fault = {"message": message, "type": "bad_request", "param": None, "code": "400"}
    return Answer(400, {"error": fault})


def _seconds(text: str) -> float:
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
    raise ValueError(f"Invalid date format: {text}")


def _day(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()


def _sums(rows: list[Row], end: float) -> list[dict[str, Any]]:
    """Return what was spent on each day, with empty days up to the last one."""
    days: dict[date, list[Row]] = defaultdict(list)
    for row in rows:
        days[datetime.fromtimestamp(row["startTime"], UTC).date()].append(row)
    found = [
        {
            **_by("api_key", days[day]),
            "startTime": day.isoformat(),
            "spend": sum(row["spend"] or 0.0 for row in days[day]),
            "users": _by("user", days[day]),
            "models": _by("model", days[day]),
        }
        for day in sorted(days)
    ]
    last, until = max(days, default=None), datetime.fromtimestamp(end, UTC).date()
    while last is not None and last < until:
        last += timedelta(days=1)
        found.append({"startTime": last.isoformat(), "spend": 0, "users": {}, "models": {}})
    return found


def _by(column: str, rows: list[Row]) -> dict[str, float]:
    sums: dict[str, float] = defaultdict(float)
    for row in rows:
        sums[row[column]] += row["spend"] or 0.0
    return dict(sums)
