"""The operator's commands for the spool: what is in it, and bringing back what a bad disk left."""

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from producer_gateway import damage, journal
from producer_gateway.journal import FILE_NAME, SpoolError
from producer_gateway.salvage import Found, examine, incoming
from producer_gateway.salvage import salvage as bring_back

_VARIABLE: Final = "GATEWAY_SPOOL_DIR"
_FAILURE: Final = 1
_WRONG_USAGE: Final = 2
_SHOWN: Final = 50

spool = typer.Typer(
    no_args_is_help=True,
    help="The spool on the local disk: what waits, what is damaged, bringing it back.",
)
Directory = Annotated[
    Path | None, typer.Option("--dir", help=f"Directory of the spool; {_VARIABLE} unless given.")
]


@spool.command()
def inspect(
    directory: Directory = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what is in the spool and in the damaged files beside it. Changes nothing; no content.

    While a gateway uses the spool, what waits in it is said by the gateway's /readyz and metrics.
    """
    path = _path(directory)
    try:
        state = {
            "file": str(path),
            "waiting": _waiting(path),
            "damaged": {one.name: asdict(examine(one)) for one in damage.damaged_files(path)},
            "to_be_taken": [one.name for one in incoming(path)],
        }
    except OSError as error:
        _fail(str(error))
    typer.echo(json.dumps(state, indent=2) if as_json else _described(state))


@spool.command()
def salvage(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Damaged files; all of the directory unless given.")
    ] = None,
    directory: Directory = None,
) -> None:
    """Bring back what can be read of damaged files: into the spool, and so to Kafka.

    The gateway may run: it takes what is brought back within seconds, else when it starts. A record
    that is not what was written is never sent. Twice does no harm: the ledger knows a call by its
    key. Exit code 1: something could not be read, and is described.
    """
    path = _path(directory)
    damaged = files or damage.damaged_files(path)
    if not damaged:
        typer.echo(f"no damaged file beside {path}")
    whole = True
    for one in damaged:
        if not one.is_file():
            _fail(f"{one} is no file", _WRONG_USAGE)
        try:
            found = bring_back(one, path)
        except SpoolError as error:
            _fail(str(error))
        typer.echo("\n".join([f"{one.name}: {found.good} records brought back", *_missing(found)]))
        whole = whole and found.whole
    if not whole:
        typer.echo("Look for those calls in LiteLLM's own spend logs; the runbook says how.")
        raise typer.Exit(_FAILURE)


def _path(directory: Path | None) -> Path:
    named = directory or Path(os.environ.get(_VARIABLE) or ".")
    if directory is None and not os.environ.get(_VARIABLE):
        _fail(f"set {_VARIABLE}, or name the directory with --dir", _WRONG_USAGE)
    if not named.is_dir():
        _fail(f"{named} is no directory", _WRONG_USAGE)
    return named / FILE_NAME


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


def _described(state: dict[str, Any]) -> str:
    waiting = state["waiting"]
    lines = [f"{state['file']}: {waiting}"]
    if isinstance(waiting, dict):
        said = f"{waiting['records']} records wait, {waiting['bytes']} bytes"
        since = f", the oldest since {waiting['oldest']}" if waiting["oldest"] else ""
        lines = [f"{state['file']}: {said}{since}"]
    lines += [f"{name}: salvaged, the gateway takes it" for name in state["to_be_taken"]]
    for name, counts in state["damaged"].items():
        found = Found(**counts)
        lines += [f"{name}: {found.good} records can be brought back", *_missing(found)]
    if state["damaged"]:
        lines.append("Bring them back with `python -m producer_gateway spool salvage`.")
    return "\n".join(lines)


def _missing(found: Found) -> list[str]:
    lines = list[str]()
    if found.unchecked:
        lines.append(f"  {found.unchecked} of them are older than checksums, and plausible")
    if found.lost or found.broken_pages:
        said = f"{found.lost} records and {found.broken_pages} pages of them cannot be read"
        lines.append(f"  {said}")
    if found.bad:
        lines.append(f"  {len(found.bad)} records are not what was written:")
    for sequence, stored_at, run, call, why in found.bad[:_SHOWN]:
        lines.append(
            f"    {_moment(stored_at)}, place {sequence}, run {run!r}, call {call!r}: {why}"
        )
    if len(found.bad) > _SHOWN:
        lines.append(f"    and {len(found.bad) - _SHOWN} more")
    return lines


def _moment(seconds: float | None) -> str:
    try:
        return datetime.fromtimestamp(seconds or 0.0, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return "at no time that can be read"


def _fail(message: str, code: int = _FAILURE) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)
