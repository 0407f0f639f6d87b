"""What is in a spool and in the damaged files beside it: a text for people, rows for programs."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from producer_gateway import damage, journal
from producer_gateway.salvage import Found, examine, incoming
from runtime.rows import Listing, Row, cell

_SHOWN: Final = 50
_STATE: Final = ("file", "state", "records", "bytes", "oldest")
_READ: Final = ("good", "unchecked", "bad", "lost", "broken_pages")


def inspected(path: Path) -> dict[str, Any]:
    """Return what is in the spool at `path` and beside it. Raises `OSError`."""
    return {
        "file": str(path),
        "waiting": _waiting(path),
        "damaged": {one.name: asdict(examine(one)) for one in damage.damaged_files(path)},
        "to_be_taken": [one.name for one in incoming(path)],
    }


def listed(state: Mapping[str, Any]) -> Listing:
    """Return what `inspected` has found as rows: one of each file, with how many are bad in it."""
    waiting, empty = state["waiting"], dict.fromkeys((*_STATE, *_READ))
    known = waiting if isinstance(waiting, dict) else {}
    said = "waiting" if known else waiting
    rows: list[Row] = [{**empty, **known, "file": state["file"], "state": said}]
    rows += [
        {**empty, "file": name, "state": "salvaged, the gateway takes it"}
        for name in state["to_be_taken"]
    ]
    rows += [
        {**empty, **_counted(counts), "file": name, "state": "damaged"}
        for name, counts in state["damaged"].items()
    ]
    return Listing((*_STATE, *_READ), rows)


def described(state: Mapping[str, Any]) -> str:
    """Return the same as a text."""
    waiting = state["waiting"]
    lines = [f"{state['file']}: {waiting}"]
    if isinstance(waiting, dict):
        said = f"{waiting['records']} records wait, {waiting['bytes']} bytes"
        since = f", the oldest since {waiting['oldest']}" if waiting["oldest"] else ""
        lines = [f"{state['file']}: {said}{since}"]
    lines += [f"{name}: salvaged, the gateway takes it" for name in state["to_be_taken"]]
    for name, counts in state["damaged"].items():
        found = Found(**counts)
        lines += [f"{name}: {found.good} records can be brought back", *missing(found)]
    if state["damaged"]:
        lines.append("Bring them back with `billing spool salvage`.")
    return "\n".join(lines)


def salvaged(found: Sequence[tuple[str, Found]]) -> Listing:
    """Return what became of damaged files as rows, with how many records are bad in each."""
    rows = [{"file": name, **_counted(asdict(one))} for name, one in found]
    return Listing(("file", *_READ), rows)


def line(row: Row) -> str:
    """Return a record that waits as a line."""
    shown = ("stored", "run", "call", "bytes", "refused")
    return "  ".join(f"{name} {cell(row[name])}" for name in shown if row[name] is not None)


def missing(found: Found) -> list[str]:
    """Return lines that say what of a damaged file cannot be brought back, or not be checked."""
    lines = list[str]()
    if found.unchecked:
        lines.append(f"  {found.unchecked} of them have no checksum yet, but look right")
    if found.lost or found.broken_pages:
        said = f"{found.lost} records and {found.broken_pages} pages cannot be read"
        lines.append(f"  {said}")
    if found.bad:
        lines.append(f"  {len(found.bad)} records differ from what was written:")
    for sequence, stored_at, run, call, why in found.bad[:_SHOWN]:
        lines.append(
            f"    {_moment(stored_at)}, place {sequence}, run {run!r}, call {call!r}: {why}"
        )
    if len(found.bad) > _SHOWN:
        lines.append(f"    and {len(found.bad) - _SHOWN} more")
    return lines


def _counted(counts: Mapping[str, Any]) -> dict[str, Any]:
    return {**counts, "bad": len(counts["bad"])}


def _waiting(path: Path) -> dict[str, Any] | str:
    if not path.exists():
        return "there is no file"
    if damage.is_used(path):
        return "a gateway uses it: ask its /readyz"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            rows, size, oldest = journal.summary(opened)
    except sqlite3.Error as error:
        return f"it cannot be read: {error}; the gateway will set it aside when it starts"
    when = datetime.fromtimestamp(oldest, UTC).isoformat(timespec="seconds") if oldest else None
    return {"records": rows, "bytes": size, "oldest": when}


def _moment(seconds: float | None) -> str:
    try:
        return datetime.fromtimestamp(seconds or 0.0, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return "at no time that can be read"
