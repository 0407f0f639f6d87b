"""The result of a run: a table for the terminal, JSON, and Markdown for the page."""

import json
import os
import platform
import re
import subprocess
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import confluent_kafka
import psutil
from rich.table import Table

from tests.bench.figures import Comparison, Figures, Target, Verdict

BEGIN: Final = "<!-- figures: written by `make bench SIZE=full` -->"
END: Final = "<!-- end of figures -->"
_PACKAGES: Final = (
    *("confluent-kafka", "psycopg", "uvicorn", "uvloop", "httptools", "msgspec"),
    *("fastapi", "orjson"),
)
HEADINGS: Final = ("what", "unit", "ours", "limit", "measured against", "ratio", "target", "")
ALIGNED: Final = "llrrlrrl"
"""Left or right, heading by heading."""


def machine(services: Mapping[str, str]) -> dict[str, str]:
    """What it was measured on.

    Args:
        services: versions of broker and database by name.
    """
    said = {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": _interpreter(),
        **services,
        "librdkafka": confluent_kafka.libversion()[0],
    }
    said |= {package: version(package) for package in _PACKAGES}
    return said | {"commit": _commit()}


def processor_times() -> tuple[float, float]:
    """Seconds that the host gave to other guests since it was started, and seconds in all."""
    times = psutil.cpu_times()
    return getattr(times, "steal", 0.0), sum(times)


def taken_by_others(since: tuple[float, float]) -> str:
    """The share of the processors' time that other guests got since then, in words."""
    (stolen, total), (stolen_then, total_then) = processor_times(), since
    share = (stolen - stolen_then) / max(total - total_then, 1e-9)
    return f"{share:.0%} of the processors' time taken by other guests of the host"


def number(value: float) -> str:
    """Three digits or all before the point: 0.353, 47.1, 8,123."""
    for least, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}"


def spread(figures: Figures | None) -> str:
    """The median, with least and most where there was more than one round."""
    if figures is None:
        return ""
    if len(figures.values) == 1:
        return number(figures.median)
    return f"{number(figures.median)} ({number(figures.least)} to {number(figures.most)})"


def cells(row: Comparison) -> tuple[str, ...]:
    """A row of the table, in the order of its headings."""
    return (
        row.what,
        row.unit,
        spread(row.ours),
        spread(row.limit),
        row.limit.name if row.limit else "",
        spread(row.ratio),
        str(row.target or ""),
        row.verdict.value,
    )


def table(rows: Sequence[Comparison], title: str) -> Table:
    """The rows for the terminal."""
    colours = {Verdict.MET: "green", Verdict.MISSED: "bold red", Verdict.NONE: "default"}
    coloured = [(*cells(row)[:-1], f"[{colours[row.verdict]}]{row.verdict.value}") for row in rows]
    return terminal_table(HEADINGS, ALIGNED, coloured, title)


def terminal_table(
    headings: Sequence[str], aligned: str, rows: Iterable[Sequence[str]], title: str
) -> Table:
    """Cells for the terminal; `aligned` has an l or an r for each heading."""
    made = Table(title=title, show_lines=True)
    for heading, side in zip(headings, aligned, strict=True):
        made.add_column(heading, justify="right" if side == "r" else "left")
    for row in rows:
        made.add_row(*row)
    return made


def markdown(rows: Sequence[Comparison], about: Mapping[str, str], title: str) -> str:
    """The rows for a page, with what they were measured on."""
    made = markdown_table(HEADINGS, ALIGNED, [cells(row) for row in rows])
    return "\n\n".join((f"{title}.", made, machine_line(about)))


def markdown_table(headings: Sequence[str], aligned: str, rows: Iterable[Sequence[str]]) -> str:
    """Cells for a page; `aligned` has an l or an r for each heading."""
    rules = ["---:" if side == "r" else "---" for side in aligned]
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rules, *rows))


def machine_line(about: Mapping[str, str]) -> str:
    """What it was measured on, in a sentence."""
    return "; ".join(f"{name} {value}" for name, value in about.items()) + "."


def write_page(page: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put `text` between the markers on `page`.

    Raises:
        ValueError: the page has no markers.
    """
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    block = f"{begin}\n{text}\n{end}"
    written, count = re.subn(pattern, lambda _: block, page.read_text("utf-8"), flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{page} must have the markers {begin} and {end} once")
    page.write_text(written, "utf-8")


@dataclass(frozen=True)
class Run:
    """What a run measured: enough to write its pages."""

    size: str
    title: str
    """Size, rounds and duration, for the head of a table."""
    machine: Mapping[str, str]
    measured: Mapping[str, Sequence[Comparison]]
    """The rows of each measurement."""
    failures: Mapping[str, str]
    """Why a measurement has no rows."""

    @property
    def rows(self) -> list[Comparison]:
        """Those of all measurements."""
        return [row for some in self.measured.values() for row in some]


def write_json(file: Path, run: Run) -> None:
    """Write every figure of every round."""
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "size": run.size,
        "title": run.title,
        "machine": dict(run.machine),
        "failures": dict(run.failures),
        "measured": {name: [row.as_json() for row in some] for name, some in run.measured.items()},
    }
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read_json(file: Path) -> Run:
    """Return the run that `write_json` wrote."""

    def figures(found: dict[str, Any]) -> Figures:
        return Figures(found["name"], tuple(found["values"]))

    def comparison(row: dict[str, Any]) -> Comparison:
        limit, target = row["limit"], row["target"]
        return Comparison(
            row["what"],
            row["unit"],
            figures(row["ours"]),
            limit and figures(limit),
            target and Target(**target),
        )

    found = json.loads(file.read_text("utf-8"))
    return Run(
        found["size"],
        found["title"],
        found["machine"],
        {name: [comparison(row) for row in rows] for name, rows in found["measured"].items()},
        found["failures"],
    )


def _interpreter() -> str:
    """Version and build: one made with PGO and LTO decides a tenth faster than one without.

    Debian's is made with both, and its configuration does not say so.
    """
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    named = {"PGO": "--enable-optimizations", "LTO": "--with-lto"}
    made = " and ".join(name for name, option in named.items() if option in options)
    build = made or "no word of PGO or LTO"
    return f"{platform.python_version()} ({platform.python_compiler()}, {build})"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()


def _commit() -> str:
    asked = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
