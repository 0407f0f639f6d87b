"""The operator's commands for the spool: what is in it, and bringing back what a bad disk left."""

import json
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final, NoReturn

import msgspec
import typer
from confluent_kafka import KafkaException

from producer_gateway import damage, inspection
from producer_gateway.emptying import WAITING, waiting
from producer_gateway.emptying import drain as bring_to_kafka
from producer_gateway.journal import FILE_NAME, SpoolError
from producer_gateway.salvage import Found
from producer_gateway.salvage import salvage as bring_back
from runtime.environment import ConfigurationError
from runtime.rows import Listing, csv_text, json_text

_VARIABLE: Final = "GATEWAY_SPOOL_DIR"
_FAILURE: Final = 1
_WRONG_USAGE: Final = 2


def _examples(*commands: str) -> str:
    lines = [f"  billing spool {one} --dir /var/lib/billing-spool" for one in commands]
    return "\n".join(["\b", "Examples:", *lines])


spool = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Show what waits in the spool on the local disk, repair it, and bring it to Kafka.",
    epilog=_examples("list", "inspect", "drain"),
)
Directory = Annotated[
    Path | None, typer.Option("--dir", help=f"Directory of the spool. Default: {_VARIABLE}.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV instead.")]


@spool.command(name="list", epilog=_examples("list", "list --json"))
def list_waiting(
    directory: Directory = None,
    limit: Annotated[int, typer.Option(min=1, max=2**31 - 1, help="Most rows.")] = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List the records that wait in the spool, the oldest first: which call, and since when.

    Refused while a gateway uses the spool: then the gateway's /readyz says how much waits.
    """
    _one_form(as_json=as_json, as_csv=as_csv)
    path = _unused(directory)
    try:
        rows = waiting(path, limit) if path.exists() else []
    except sqlite3.Error as error:
        _fail(f"{path} cannot be read: {error}; see `spool inspect`")
    if as_json:
        typer.echo(json_text(rows))
    elif as_csv:
        _csv(Listing(WAITING, rows))
    else:
        typer.echo("\n".join(map(inspection.line, rows)) or "nothing waits")


@spool.command(epilog=_examples("drain", "drain --seconds 600"))
def drain(
    directory: Directory = None,
    seconds: Annotated[float, typer.Option(min=1, help="Stop after this time.")] = 60,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Bring the records in the spool to Kafka, if no gateway is left to do it.

    A running gateway drains by itself. Needs a gateway's environment, but no token. Records that
    Kafka does not take stay in the spool. Exit code 1: records still wait; the message says why.
    """
    _one_form(as_json=as_json, as_csv=as_csv)
    path = _unused(directory)
    try:
        left = bring_to_kafka(path.parent, seconds)
    except ConfigurationError as error:
        _fail(f"wrong configuration; see docs/configuration.md\n{error}", _WRONG_USAGE)
    except KafkaException as error:
        _fail(f"the KAFKA_* variables do not fit: {error.args[0].str()}", _WRONG_USAGE)
    except SpoolError as error:
        _fail(str(error))
    row = msgspec.structs.asdict(left)
    if as_json:
        typer.echo(json_text([row]))
    elif as_csv:
        _csv(Listing(tuple(row), [row]))
    else:
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
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show how much is in the spool and in damaged files beside it. Changes nothing.

    Shows no content. While a gateway uses the spool, its /readyz and metrics say how much waits.
    """
    _one_form(as_json=as_json, as_csv=as_csv)
    try:
        state = inspection.inspected(_path(directory))
    except OSError as error:
        _fail(str(error))
    if as_json:
        typer.echo(json.dumps(state, indent=2))
    elif as_csv:
        _csv(inspection.listed(state))
    else:
        typer.echo(inspection.described(state))


@spool.command(epilog=_examples("salvage"))
def salvage(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Damaged files. Default: all in the directory.")
    ] = None,
    directory: Directory = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Bring the readable records of damaged files back into the spool, and so to Kafka.

    A running gateway takes them within seconds; otherwise the next one does when it starts. Records
    with a wrong checksum are never sent. Repeating it charges no call twice. Exit code 1: some
    records could not be read; they are listed.
    """
    _one_form(as_json=as_json, as_csv=as_csv)
    rows = as_json or as_csv
    path = _path(directory)
    damaged = files or damage.damaged_files(path)
    for one in damaged:
        if not one.is_file():
            _fail(f"{one} is not a file", _WRONG_USAGE)
    found, failure = _brought_back(damaged, path, said=not rows)
    if as_json:
        typer.echo(json_text([{"file": name, **asdict(one)} for name, one in found]))
    elif as_csv:
        _csv(inspection.salvaged(found))
    if failure:
        _fail(failure)
    if not damaged:
        typer.echo(f"there is no damaged file beside {path}", err=rows)
    if not all(one.whole for _, one in found):
        typer.echo(
            "Find those calls in LiteLLM's own spend logs: see 'A damaged spool' in the runbook.",
            err=rows,
        )
        raise typer.Exit(_FAILURE)


def _brought_back(
    damaged: Sequence[Path], path: Path, *, said: bool
) -> tuple[list[tuple[str, Found]], str]:
    """Bring files back, and say it of each; return what was found, and why it went no further."""
    found = list[tuple[str, Found]]()
    for one in damaged:
        try:
            found.append((one.name, back := bring_back(one, path)))
        except SpoolError as error:
            return found, str(error)
        if said:
            first = f"{one.name}: {back.good} records brought back"
            typer.echo("\n".join([first, *inspection.missing(back)]))
    return found, ""


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


def _one_form(*, as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        _fail("--json and --csv are two forms: choose one", _WRONG_USAGE)


def _csv(listing: Listing) -> None:
    typer.echo(csv_text(listing), nl=False)


def _fail(message: str, code: int = _FAILURE) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    spool(prog_name="billing spool")
