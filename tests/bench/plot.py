"""The picture that docs/performance.md begins with: CPU of a callback, by part."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench import gateway_batches
from tests.bench.figures import Comparison
from tests.bench.gateway_batches import PER_POST
from tests.bench.others import CONSUMERS, OURS
from tests.bench.report import Run

_PARTS: Final = {"its process": "#2457c5", "PostgreSQL": "#7fa3ea", "broker": "#c9d3e6"}
_INK, _FAINT = "#1f2430", "#8a93a5"
_SIZES: Final = ("4 kB", "14 kB")


@dataclass(frozen=True)
class Bar:
    """A program, and the CPU in µs that a callback takes of each part."""

    name: str
    parts: Mapping[str, float]

    @property
    def whole(self) -> float:
        """Of all parts."""
        return sum(self.parts.values())


def draw(run: Run, picture: Path) -> None:
    """Write the PNG.

    Args:
        run: one that measured everything.
        picture: its path.

    Raises:
        KeyError: a row is missing, named.
    """
    mpl.use("Agg")
    rows = {row.what: row for row in run.rows if row.unit.startswith("CPU")}
    figure = Figure(figsize=(12, 5.4), facecolor="#ffffff", dpi=100, layout="constrained")
    boxes = figure.subplots(2, 2, sharex="col", height_ratios=(1, 1))
    for line, size in enumerate(_SIZES):
        _panel(boxes[line][0], f"Kafka to PostgreSQL, {size}", list(consumers(rows, size)))
        _panel(boxes[line][1], f"HTTP to Kafka, posts of {PER_POST}, {size}", gateways(rows, size))
    for axes in boxes[1]:
        axes.set_xlabel("CPU of a callback, µs: medians of the rounds", fontsize=8, color=_FAINT)
    handles, names = boxes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=3, fontsize=8, frameon=False)
    figure.savefig(picture)


def consumers(rows: Mapping[str, Comparison], size: str) -> Iterator[Bar]:
    """Ours, COPY of its rows, and what one would write instead."""
    for other in (OURS, *CONSUMERS):
        parts = {part: rows[f"{other.name}, {size}: {part}"].ours.median for part in _PARTS}
        yield Bar(other.name, parts)
    copied = _limit(rows, f"consumer and PostgreSQL, {size}")
    server = _limit(rows, f"consumer, PostgreSQL's part, {size}")
    yield Bar("COPY of the same rows", {"its process": copied - server, "PostgreSQL": server})


def gateways(rows: Mapping[str, Comparison], size: str) -> list[Bar]:
    """Ours, what one would write instead, and a producer that has its records ready."""
    what = f"HTTP to Kafka, posts of {PER_POST}, {size}"
    alone, with_broker = rows[f"{what}: the process"], rows[f"{what}: the process and the broker"]
    batches = f"gateway, batches of {PER_POST}, {size}: its process"
    theirs = _limit(rows, alone.what)
    return [
        Bar("this gateway", {
            "its process": alone.ours.median,
            "broker": with_broker.ours.median - alone.ours.median,
        }),
        Bar("FastAPI, orjson,\nconfluent-kafka", {
            "its process": theirs,
            "broker": _limit(rows, with_broker.what) - theirs,
        }),
        Bar(gateway_batches.BARE, {"its process": _limit(rows, batches)}),
    ]  # fmt: skip


def _limit(rows: Mapping[str, Comparison], what: str) -> float:
    limit = rows[what].limit
    if limit is None:
        raise KeyError(f"{what} has no limit")
    return limit.median


def _panel(axes: Axes, title: str, bars: list[Bar]) -> None:
    axes.set_title(title, fontsize=10, loc="left", color=_INK)
    names = [bar.name for bar in bars]
    begins = [0.0] * len(bars)
    for part, colour in _PARTS.items():
        widths = [bar.parts.get(part, 0.0) for bar in bars]
        axes.barh(names, widths, left=begins, color=colour, label=part, height=0.62)
        begins = [begin + width for begin, width in zip(begins, widths, strict=True)]
    for name, bar in zip(names, bars, strict=True):
        axes.annotate(f" {bar.whole:,.0f}", (bar.whole, name), va="center", fontsize=8, color=_INK)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.tick_params(labelsize=8, colors=_INK, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_FAINT)
