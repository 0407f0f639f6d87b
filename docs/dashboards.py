"""The dashboards for Grafana, from `deploy/grafana/dashboards.yaml`, which people write.

Any Grafana takes the JSON: which Prometheus and which PostgreSQL it asks is a variable.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

ROOT: Final = Path(__file__).resolve().parent.parent
WRITTEN: Final = ROOT / "deploy" / "grafana" / "dashboards.yaml"
_COLUMNS: Final = 24
_SIZES: Final[Mapping[str, tuple[int, int]]] = {"stat": (6, 4), "timeseries": (12, 8)}
_ROW_HEIGHT: Final = 1
_ASKED: Final = "A"
_PROMETHEUS: Final = {"type": "prometheus", "uid": "${prometheus}"}
_POSTGRES: Final = {"type": "grafana-postgresql-datasource", "uid": "${postgres}"}


class Series(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query of Prometheus, and what its lines are called; "" takes the panel's title."""

    expression: str
    legend: str = ""


class Panel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One picture: what it shows, why it matters, and what it asks.

    `rows` is a query of PostgreSQL, whose rows are shown as a table.
    """

    title: str
    says: str
    series: Sequence[Series] = ()
    rows: str = ""
    unit: str = "none"
    kind: Literal["stat", "timeseries"] = "timeseries"


class Dashboard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Panels by subject; each subject begins a row."""

    title: str
    says: str
    subjects: dict[str, list[Panel]]


def dashboards() -> dict[str, Dashboard]:
    """Return the dashboards that people have written, by name.

    Raises:
        msgspec.ValidationError: a panel has a field that is none, or lacks one.
    """
    return msgspec.yaml.decode(WRITTEN.read_bytes(), type=dict[str, Dashboard])


def document(name: str) -> str:
    """Return one of them as Grafana reads it."""
    dashboard = dashboards()[name]
    described = {
        "uid": f"billing-{name}",
        "title": dashboard.title,
        "description": dashboard.says,
        "tags": ["billing"],
        "timezone": "utc",
        "schemaVersion": 41,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "editable": False,
        "templating": {"list": list(_sources(dashboard))},
        "panels": list(_placed(dashboard)),
    }
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def _sources(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Yield the variables by which a person chooses whom to ask."""
    asked = [("prometheus", "Prometheus", _PROMETHEUS)]
    if any(panel.rows for panels in dashboard.subjects.values() for panel in panels):
        asked.append(("postgres", "PostgreSQL", _POSTGRES))
    for name, label, source in asked:
        kind = {"type": "datasource", "query": source["type"], "hide": 0}
        yield {"name": name, "label": label, **kind}


def _placed(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number = top = 0
    for subject, panels in dashboard.subjects.items():
        number += 1
        where = {"x": 0, "y": top, "w": _COLUMNS, "h": _ROW_HEIGHT}
        row = {"type": "row", "title": subject, "collapsed": False, "panels": []}
        yield {"id": number, "gridPos": where, **row}
        top, left, height = top + _ROW_HEIGHT, 0, 0
        for panel in panels:
            wide, high = _SIZES[panel.kind]
            if left + wide > _COLUMNS:
                top, left = top + height, 0
            number += 1
            where = {"x": left, "y": top, "w": wide, "h": high}
            yield {"id": number, "gridPos": where, **_described(panel)}
            left, height = left + wide, high
        top += height


def _described(panel: Panel) -> dict[str, Any]:
    described = {"title": panel.title, "description": panel.says}
    if panel.rows:
        target = {"refId": _ASKED, "format": "table", "rawQuery": True, "rawSql": panel.rows}
        return described | {
            "type": "table",
            "datasource": _POSTGRES,
            "fieldConfig": {"defaults": {}, "overrides": []},
            "targets": [{"datasource": _POSTGRES, **target}],
        }
    targets = [
        {
            "datasource": _PROMETHEUS,
            "expr": one.expression,
            "legendFormat": one.legend or panel.title,
            "refId": chr(ord(_ASKED) + place),
        }
        for place, one in enumerate(panel.series)
    ]
    return described | {
        "type": panel.kind,
        "datasource": _PROMETHEUS,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": targets,
    }
