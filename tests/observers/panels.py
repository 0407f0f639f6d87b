"""What the dashboards' panels show, asked as Grafana would ask."""

import json
from pathlib import Path
from typing import Any, Final

import psycopg

BOARDS: Final = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"


def boards() -> dict[str, dict[str, Any]]:
    """The dashboards by name, as Grafana reads them."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(BOARDS.glob("*.json"))}


def panels() -> list[dict[str, Any]]:
    """The panels of all dashboards."""
    return [one for board in boards().values() for one in board["panels"] if one["type"] != "row"]


def asked(expression: str) -> str:
    """A query as Grafana sends it for a look at ten minutes."""
    return expression.replace("$__rate_interval", "1m").replace("$__range", "10m")


def rows(database_url: str, text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """What a query of Grafana shows to a user who may only read: names of columns, and rows."""
    start, end = "(now() - interval '6 hours')", "(now() + interval '1 minute')"
    query = text.replace("$__timeFilter(started_at)", f"started_at BETWEEN {start} AND {end}")
    query = query.replace("$__timeFrom()", start).replace("$__timeTo()", end)
    assert "$__" not in query
    with psycopg.connect(database_url) as connection:
        connection.execute("SET ROLE billing_reader")
        cursor = connection.execute(query.encode())
        return [column.name for column in cursor.description or ()], cursor.fetchall()
