"""The command that looks for what was changed behind the ledger's back."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from ledger.sealed_rows import adopt, verification
from ledger.verification import Problem, Verified
from operator_cli.tables import Csv, Form, Json, MostRows, form_of, remark, show
from operator_cli.terminal import DATABASE, decider, explained, fail, settings
from runtime.rows import Listing, Row
from schemas.checkpoint import EVENT_TYPE, Checkpoint

_COLUMNS: Final = ("what", "kind", "id", "run", "account", "charged USD", "written at", "detail")
_RECEIPT: Final[Mapping[str, int]] = {"id": 0, "run": 6, "account": 8, "charged USD": 10}
_CORRECTION: Final[Mapping[str, int]] = {"id": 0, "charged USD": 4}
"""Where the values that name a row stand in the order in which they are sealed."""
_MOST: Final = 1_000


def verify(
    *,
    published: Annotated[
        Path | None,
        typer.Option(
            help=f"Checkpoints that you have kept: the values of {EVENT_TYPE}, one JSON a line; "
            "- for the standard input.",
            allow_dash=True,
            dir_okay=False,
        ),
    ] = None,
    seal_rest: Annotated[
        bool,
        typer.Option(
            "--seal-rest", help="Seal receipts that have no seal as they are now, and end."
        ),
    ] = False,
    by: Annotated[str, typer.Option(help="Who seals them. Default: your user name.")] = "",
    limit: MostRows = _MOST,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Compare receipts and corrections with their seals, and those with the checkpoints.

    Each row is compared with its digest of the moment in which it was written, so whatever anybody
    has altered, added or removed since is named. Whoever may alter rows may alter seals too: keep
    the last checkpoint that was published somewhere else, and give it with --published.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    url = found.database_url.get_secret_value()
    if seal_rest:
        with explained(found):
            sealed = adopt(url, decider(by))
        remark(f"{sealed} receipts sealed as they are now", form)
        return
    kept = _kept(published) if published else {}
    counted, listed, more = Verified(), list[Row](), 0
    with explained(found), verification(url, kept, counted) as problems:
        for problem in problems:
            if len(listed) < limit:
                listed.append(_row(problem))
            else:
                more += 1
    if listed or form is not Form.TABLE:
        show("Not as it was written", Listing(_COLUMNS, listed), form)
    if more:
        remark(f"{more} more are not listed: raise --limit", form)
    remark(_summary(counted, kept), form)
    if listed:
        raise typer.Exit(1)


def _row(problem: Problem) -> Row:
    places = _CORRECTION if problem.kind == "corrections" else _RECEIPT
    named: dict[str, Any] = {
        name: problem.values[place] if problem.values else None for name, place in places.items()
    }
    many = problem.count > 1 or problem.what == "removed"
    detail = f"{problem.count} of this moment" if many else problem.detail
    row = {"what": problem.what, "kind": problem.kind, **named}
    row |= {"written at": problem.written_at, "detail": detail}
    return {name: row.get(name) for name in _COLUMNS}


def _summary(counted: Verified, kept: Mapping[int, bytes]) -> str:
    looked = (
        f"looked at {counted.receipts} receipts, {counted.corrections} corrections, "
        f"{counted.seals} seals, {counted.checkpoints} checkpoints"
    )
    lines = [looked]
    if counted.checkpoints:
        lines.append(f"last checkpoint: {counted.last.hex()}")
    if kept:
        lines.append(f"compared with {len(kept)} published checkpoints, up to {max(kept)}")
    if counted.unsealed:
        lines.append(
            f"{counted.unsealed} receipts are from before there were seals: nothing says whether "
            "they were changed. `billing verify --seal-rest` seals them as they are now"
        )
    return "\n".join(lines)


def _kept(path: Path) -> dict[int, bytes]:
    """Return the hashes of a file, by number; ends with 2 where it has anything else."""
    kept: dict[int, bytes] = {}
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8")
        for at, line in enumerate(text.splitlines(), 1):
            if line.strip():
                one = msgspec.json.decode(line, type=Checkpoint)
                if kept.setdefault(one.number, bytes.fromhex(one.hash)).hex() != one.hash:
                    fail(f"{path}: line {at}: checkpoint {one.number} is there with two hashes", 2)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path} cannot be read: {error}", 2)
    except msgspec.MsgspecError as error:
        fail(f"{path}: line {at} is no checkpoint: {error}", 2)
    return kept
