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
from confluent_kafka import KafkaException

from producer_gateway import damage, journal
from producer_gateway.emptying import drain as bring_to_kafka
from producer_gateway.emptying import waiting
from producer_gateway.journal import FILE_NAME, SpoolError
from producer_gateway.salvage import Found, examine, incoming
from producer_gateway.salvage import salvage as bring_back
from runtime.environment import ConfigurationError
from runtime.rows import cell, csv_text, json_text

_VARIABLE: Final = "GATEWAY_SPOOL_DIR"
_FAILURE: Final = 1
_WRONG_USAGE: Final = 2
_SHOWN: Final = 50


def _examples(*commands: str) -> str:
    lines = [f"  billing spool {one} --dir /var/lib/billing-spool" for one in commands]
    return "\n".join(["\b", "Examples:", *lines])


spool = typer.Typer(
    no_args_is_help=True,
    help="Show what waits in the spool on the local disk, repair it, and bring it to Kafka.",
    epilog=_examples("list", "inspect", "drain"),
)
Directory = Annotated[
    Path | None, typer.Option("--dir", help=f"Directory of the spool. Default: {_VARIABLE}.")
]


@spool.command(name="list", epilog=_examples("list", "list --json"))
def list_waiting(
    directory: Directory = None,
    limit: Annotated[int, typer.Option(min=1, help="Most rows.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead.")] = False,
) -> None:
    """List the records that wait in the spool, the oldest first: which call, and since when.

    Refused while a gateway uses the spool: then the gateway's /readyz says how much waits.
    """
    if as_json and as_csv:
        _fail("--json and --csv are two forms: choose one", _WRONG_USAGE)
    path = _unused(directory)
    try:
        rows = waiting(path, limit) if path.exists() else []
    except sqlite3.Error as error:
        _fail(f"{path} cannot be read: {error}; see `spool inspect`")
    if as_json:
        typer.echo(json_text(rows))
    elif as_csv:
        typer.echo(csv_text(rows), nl=False)
    else:
        typer.echo("\n".join(map(_line, rows)) or "nothing waits")


@spool.command(epilog=_examples("drain", "drain --seconds 600"))
def drain(
    directory: Directory = None,
    seconds: Annotated[float, typer.Option(min=1, help="Stop after this time.")] = 60,
) -> None:
    """Bring the records in the spool to Kafka, if no gateway is left to do it.

    A running gateway drains by itself. Needs a gateway's environment, but no token. Records that
    Kafka does not take stay in the spool. Exit code 1: records still wait; the message says why.
    """
    path = _unused(directory)
    try:
        left = bring_to_kafka(path.parent, seconds)
    except ConfigurationError as error:
        _fail(f"wrong configuration; see docs/configuration.md\n{error}", _WRONG_USAGE)
    except KafkaException as error:
        _fail(f"the KAFKA_* variables do not fit: {error.args[0].str()}", _WRONG_USAGE)
    except SpoolError as error:
        _fail(str(error))
    typer.echo(
        f"{left.taken} records brought to Kafka, {left.waiting} wait, "
        f"{left.refused} refused by Kafka"
    )
    if left.waiting or left.refused or left.why:
        _fail(
            left.why
            or "Kafka refuses them as they are: see BillingGatewaySpoolRefused in the runbook"
        )


@spool.command(epilog=_examples("inspect", "inspect --json"))
def inspect(
    directory: Directory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Show how much is in the spool and in damaged files beside it. Changes nothing.

    Shows no content. While a gateway uses the spool, its /readyz and metrics say how much waits.
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


@spool.command(epilog=_examples("salvage"))
def salvage(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Damaged files. Default: all in the directory.")
    ] = None,
    directory: Directory = None,
) -> None:
    """Bring the readable records of damaged files back into the spool, and so to Kafka.

    A running gateway takes them within seconds; otherwise the next one does when it starts. Records
    with a wrong checksum are never sent. Repeating it charges no call twice. Exit code 1: some
    records could not be read; they are listed.
    """
    path = _path(directory)
    damaged = files or damage.damaged_files(path)
    if not damaged:
        typer.echo(f"there is no damaged file beside {path}")
    whole = True
    for one in damaged:
        if not one.is_file():
            _fail(f"{one} is not a file", _WRONG_USAGE)
        try:
            found = bring_back(one, path)
        except SpoolError as error:
            _fail(str(error))
        typer.echo("\n".join([f"{one.name}: {found.good} records brought back", *_missing(found)]))
        whole = whole and found.whole
    if not whole:
        typer.echo("Find those calls in LiteLLM's own spend logs: see 'A damaged spool' in the "
                   "runbook.")  # fmt: skip
        raise typer.Exit(_FAILURE)


def _path(directory: Path | None) -> Path:
    named = directory or Path(os.environ.get(_VARIABLE) or ".")
    if directory is None and not os.environ.get(_VARIABLE):
        _fail(f"set {_VARIABLE}, or name the directory with --dir", _WRONG_USAGE)
    if not named.is_dir():
        _fail(f"{named} is not a directory", _WRONG_USAGE)
    return named / FILE_NAME


def _unused(directory: Path | None) -> Path:
    path = _path(directory)
    if path.exists() and damage.is_used(path):
        _fail(f"a gateway uses {path}: it drains by itself, and its /readyz says what waits")
    return path


def _line(row: dict[str, Any]) -> str:
    shown = ("stored", "run", "call", "bytes", "refused")
    return "  ".join(f"{name} {cell(row[name])}" for name in shown if row[name] is not None)


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
        lines.append("Bring them back with `billing spool salvage`.")
    return "\n".join(lines)


def _missing(found: Found) -> list[str]:
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


def _moment(seconds: float | None) -> str:
    try:
        return datetime.fromtimestamp(seconds or 0.0, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return "at no time that can be read"


def _fail(message: str, code: int = _FAILURE) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)
