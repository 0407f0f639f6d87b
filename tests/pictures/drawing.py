"""Drawing a dashboard: its panels where Grafana puts them, each with what it shows."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter

from tests.processes.prometheus import Course

_COLUMNS: Final = 24
_COLUMN_INCHES, _LINE_INCHES = 0.55, 0.34
_MOST_ROWS: Final = 7
_MOST_CHARACTERS: Final = 24
_INK, _FAINT, _PAPER, _BLUE = "#1f2430", "#8a93a5", "#ffffff", "#2457c5"
_SUFFIXES: Final = {"s": " s", "bytes": " B", "cps": "/s", "reqps": "/s"}

_formatter: Callable[..., Formatter] = DateFormatter
"""The library has no types for it."""

Shown = tuple[Sequence[tuple[str, Course]], tuple[Sequence[str], Sequence[Sequence[Any]]] | None]
"""Of a panel: its lines by what they are called, or the columns and rows of its table."""


def draw(board: Mapping[str, Any], shown: Mapping[int, Shown], path: Path) -> None:
    """Write a picture of a dashboard.

    Args:
        board: as Grafana reads it.
        shown: of each panel that is no row, by its id.
        path: of the PNG.
    """
    mpl.use("Agg")
    panels = board["panels"]
    lines = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    width, height = _COLUMNS * _COLUMN_INCHES, lines * _LINE_INCHES
    figure = Figure(figsize=(width, height + 0.6), facecolor=_PAPER, dpi=100)
    figure.text(0.01, 1 - 0.2 / height, board["title"], fontsize=15, va="top", color=_INK)
    for panel in panels:
        place = panel["gridPos"]
        top = 1 - (place["y"] * _LINE_INCHES + 0.6) / (height + 0.6)
        if panel["type"] == "row":
            figure.text(
                0.01, top - 0.1 / height, panel["title"], fontsize=11, va="top", color=_BLUE
            )
            continue
        tall = place["h"] * _LINE_INCHES / (height + 0.6)
        axes = figure.add_axes(
            (
                place["x"] / _COLUMNS + 0.035,
                top - tall * 0.86,
                place["w"] / _COLUMNS - 0.05,
                tall * 0.66,
            )
        )
        _panel(axes, panel, shown[panel["id"]])
    figure.savefig(path)


def legend(pattern: str, labels: Mapping[str, str]) -> str:
    """What Grafana calls a line: the names of labels in braces are their values."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), pattern).strip()


def _panel(axes: Axes, panel: Mapping[str, Any], shown: Shown) -> None:
    axes.set_title(panel["title"], fontsize=9, loc="left", color=_INK)
    lines, table = shown
    unit = _SUFFIXES.get(panel.get("fieldConfig", {}).get("defaults", {}).get("unit", ""), "")
    if table is not None:
        _table(axes, *table)
    elif panel["type"] == "stat":
        values = [course.values[-1] for _, course in lines if course.values]
        axes.axis("off")
        said = f"{values[0]:,.4g}{unit}" if values else "no data"
        axes.text(0, 0.35, said, fontsize=20, color=_BLUE, transform=axes.transAxes)
    else:
        _lines(axes, lines, unit)


def _lines(axes: Axes, lines: Sequence[tuple[str, Course]], unit: str) -> None:
    for name, course in lines:
        times = [datetime.fromtimestamp(at, UTC) for at in course.times]
        values = [value if math.isfinite(value) else math.nan for value in course.values]
        axes.plot(times, values, linewidth=1.2, label=name[:40])  # type: ignore[arg-type] # it takes times
    axes.tick_params(labelsize=7, colors=_FAINT, length=2)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(_FAINT)
    axes.grid(visible=True, linewidth=0.3, color=_FAINT, alpha=0.5)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(_formatter("%H:%M:%S", tz=UTC))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.4g}{unit}")
    if lines:
        axes.legend(fontsize=6, frameon=False, loc="upper left", ncols=2, labelcolor=_INK)
    else:
        axes.text(0.5, 0.5, "no data", color=_FAINT, ha="center", transform=axes.transAxes)


def _table(axes: Axes, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    axes.axis("off")
    texts = [[_cell(value) for value in row] for row in rows[:_MOST_ROWS]]
    made = axes.table(
        cellText=texts or [[""] * len(columns)], colLabels=list(columns), loc="upper left"
    )
    made.auto_set_font_size(False)
    made.set_fontsize(7)
    for (line, _), cell in made.get_celld().items():
        cell.set_edgecolor("#e3e6ec")
        cell.get_text().set_color(_FAINT if line == 0 else _INK)


def _cell(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%d %b %H:%M}"
    return "-" if value is None else str(value)[:_MOST_CHARACTERS]
