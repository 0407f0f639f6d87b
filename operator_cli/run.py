"""The command `run`: what a run has cost, by its agents and their calls."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import typer

from ledger.run_costs import costs_of
from operator_cli.run_tree import MODEL, Branch, stand_ins, tree_of, worth
from operator_cli.tables import MOST_ROWS, Csv, Form, Json, form_of, remark, show, show_json
from operator_cli.terminal import DATABASE, explained, fail, settings
from runtime.rows import Listing, Row

NAMES: Final = (
    "depth", "kind", "name", "model", "attempt", "calls", "open", "charged USD", "credits",
    "signed USD", "signature", "ended",
)  # fmt: skip
"""Of each row, for programs."""
_SHOWN: Final = ("run", *NAMES[5:11])
_INDENT: Final = "  "


def run(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The id of the run.")],
    *,
    limit: Annotated[
        int, typer.Option(min=0, max=MOST_ROWS, help="Most calls that are shown one by one.")
    ] = 100,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show what a run has cost: the run, its agents, and their calls.

    Each row has everything below it. A call that names no agent stands under its model. Run and
    agents are what the client says, unless the signature says `signed`: see docs/security.md.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found):
        costs = costs_of(found.database_url.get_secret_value(), run_id, limit)
    tree = tree_of(run_id, costs)
    whole = tree[0].total
    if not (whole.calls or whole.open or costs.completion):
        fail(f"no call in the books names the run {run_id!r}")
    rows = list(_rows(tree))
    if form is Form.JSON:
        ended = costs.completion[0] if costs.completion else None
        show_json(
            {"run": run_id, "rows": rows, "signatures": whole.signatures, "completion": ended}
        )
    elif form is Form.CSV:
        show("", Listing(NAMES, rows), form)
    else:
        show("What the run has cost", Listing(_SHOWN, [_shown(row) for row in rows]), form)
    if left := whole.calls + whole.open - len(costs.calls):
        remark(f"{left} calls are not shown one by one: raise --limit", form)
    if nameless := stand_ins(tree):
        remark(f"calls that name no agent stand under their model: {nameless}", form)
    if whole.open:
        remark(f"calls without a receipt, which may add to it: {whole.open}", form)
    for ended in costs.completion:
        remark(_told(ended), form)


def _told(ended: Row) -> str:
    completed = f"{ended['completed']:%Y-%m-%d %H:%M:%S} UTC"
    if ended["revision"] is None:
        return f"the run ended at {completed}; other teams are not told yet what it has cost"
    return (
        f"the run ended at {completed}; other teams were told {ended['charged USD']:f} USD for "
        f"{ended['calls']} calls, with {ended['open']} open, in revision {ended['revision']}"
    )


def _rows(tree: Sequence[Branch]) -> Iterator[Row]:
    for branch in tree:
        figures = branch.total
        yield {
            "depth": branch.depth,
            "kind": branch.kind,
            "name": branch.name,
            "model": branch.name if branch.kind == MODEL else None,
            "attempt": None,
            "calls": figures.calls,
            "open": figures.open,
            "charged USD": figures.charged_usd,
            "credits": figures.credits,
            "signed USD": figures.signed_usd,
            "signature": worth(figures.signatures),
            "ended": None,
        }
        yield from (_call(row, branch.depth + 1) for row in branch.calls)


def _call(row: Row, depth: int) -> Row:
    charged = row["charged USD"]
    return {
        "depth": depth,
        "kind": "call",
        "name": row["call"],
        "model": row["model"],
        "attempt": row["attempt"],
        "calls": int(charged is not None),
        "open": int(charged is None),
        "charged USD": charged,
        "credits": row["credits"],
        "signed USD": charged if row["signature"] == "signed" else None,
        "signature": row["signature"],
        "ended": row["ended"],
    }


def _shown(row: Row) -> Row:
    """Return a row as people read it: indented, a call with its model."""
    name = row["name"] or "(unnamed)"
    if row["kind"] == MODEL:
        name = f"(no agent) {name}"
    elif row["kind"] == "call":
        name = f"{name} {row['model'] or ''}"
    return {**row, "run": f"{_INDENT * row['depth']}{name}"}
