"""The commands for what the reconciler has found: list it, close what a person has looked at."""

from contextlib import closing
from typing import Annotated

import typer

from ledger.findings import Findings, FindingVerdict
from operator_cli.settings import Settings
from operator_cli.tables import (
    Csv,
    Json,
    MostRows,
    form_of,
    show,
    tell,
)
from operator_cli.terminal import DATABASE, decider, examples, explained, settings

findings = typer.Typer(
    help="Calls of LiteLLM's log that the books have no answer to: list, close.",
    epilog=examples("findings list", 'findings close chatcmpl-1 --note "credited by hand"'),
)


@findings.command(
    name="list",
    epilog=examples(
        "findings list",
        "findings list --verdict differs --verdict elsewhere --json",
        "findings list --closed --limit 1000 --csv > findings.csv",
    ),
)
def list_findings(
    *,
    verdict: Annotated[
        list[FindingVerdict] | None, typer.Option(help="Only this one; repeatable.")
    ] = None,
    closed: Annotated[bool, typer.Option("--closed", help="Also those that are closed.")] = False,
    limit: MostRows = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List what the reconciler has found, the oldest first.

    What each verdict means, and what to do about it: docs/reconciler.md.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found), _findings(found) as kept:
        listing = kept.listed(verdict or (), closed=closed, limit=limit)
    show("What the reconciler has found, the oldest first", listing, form)


@findings.command(
    epilog=examples(
        'findings close chatcmpl-1 --note "the provider has credited it"',
        'findings close chatcmpl-1 --source litellm/eu --note "our own test" --by ada',
    )
)
def close(
    call: Annotated[str, typer.Argument(help="Its row or call in `list`, or its call key.")],
    note: Annotated[str, typer.Option(help="Why; stored with it.", show_default=False)],
    *,
    source: Annotated[
        str, typer.Option(help="Only of this source, such as litellm/eu. Default: of any.")
    ] = "",
    by: Annotated[str, typer.Option(help="Who decides this. Default: the user of the shell.")] = "",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Close a finding that a person has looked at: the audit balances without it.

    No receipt changes and none is written. It is opened again if the reconciler finds something
    else about the call.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found), _findings(found) as kept:
        named = kept.find(call, source)
        who = decider(by)
        kept.close_by_hand(named, who, note)
    row = {
        "source": named.source_system,
        "row": named.request_id,
        "verdict": named.verdict,
        "done": "closed",
        "by": who,
        "note": note,
    }
    tell(f"closed {named.request_id}, which was {named.verdict}", row, form)


def _findings(found: Settings) -> closing[Findings]:
    return closing(Findings(found.database_url.get_secret_value()))
