"""The commands for deferred calls: list them, settle, waive, accept, and what became of one."""

from contextlib import closing
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final

import typer

from charging.outcomes import Settlement
from charging.settlement import Event
from ledger.deferrals import Deferrals, OpenCall, SettlementError, Suggested
from operator_cli import settlement
from operator_cli.settings import Settings
from operator_cli.tables import (
    Csv,
    Json,
    MostRows,
    form_of,
    show,
    tell,
)
from operator_cli.terminal import (
    DATABASE,
    KAFKA,
    decider,
    examples,
    explained,
    fail,
    kafka,
    sender,
    settings,
)
from runtime.rows import Listing, Row

deferred = typer.Typer(
    help="Calls that should have cost something: list, settle, waive, accept.",
    epilog=examples("deferred list", 'deferred settle 1 --cost 0.0125 --note "price list"'),
)

_RULE_NOTE: Final = "BILLING_BREAKDOWN_MODELS"
Call = Annotated[str, typer.Argument(help="Its number in `list`, its call key, or an id.")]
By = Annotated[str, typer.Option(help="Who decides this. Default: the user of the shell.")]
Note = Annotated[str, typer.Option(help="Why; stored with the deferral.", show_default=False)]


@deferred.command(
    name="list",
    epilog=examples("deferred list", "deferred list --settled --csv > deferred.csv"),
)
def list_deferred(
    settled: Annotated[
        bool, typer.Option("--settled", help="All deferred calls, also closed and waiting ones.")
    ] = False,
    waiting: Annotated[
        bool,
        typer.Option(
            "--waiting", help="Also calls that have waited for another callback for under a day."
        ),
    ] = False,
    limit: MostRows = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """List deferred calls, the oldest first.

    LiteLLM reports a background response when it is ordered and again each time it is read. Until
    both have come, the first one waits; it is listed after a day.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found), _deferrals(found) as deferrals:
        listing = deferrals.listed(settled=settled, waiting=waiting, limit=limit)
    show("Deferred calls, the oldest first", listing, form)


@deferred.command(
    epilog=examples('deferred settle 1 --cost 0.0125 --note "price list of November"')
)
def settle(
    call: Call,
    cost: Annotated[str, typer.Option(help="Its cost in US dollars, before markup; over 0.")],
    note: Note,
    by: By = "",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Say what a deferred call cost. The consumer then writes its receipt."""
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(KAFKA, DATABASE)
    cost_usd = _cost(cost)
    with explained(found), _deferrals(found) as deferrals:
        open_call = deferrals.find(call, Event.PERSON)
        record = settlement.original(kafka(found), open_call)
        said = Settlement(decider(by), note, open_call.call_key)
        settlement.send(sender(found), record, cost_usd, said)
    sentence = f"sent: the consumer will write the receipt of call {open_call.id}"
    tell(sentence, _done(open_call, "sent", said.by, note, cost_usd), form)


@deferred.command(epilog=examples('deferred waive 2 --note "our own test"'))
def waive(
    call: Call,
    note: Note,
    by: By = "",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Close a deferred call without a receipt: it is not charged."""
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found), _deferrals(found) as deferrals:
        open_call = deferrals.find(call, Event.WAIVER)
        who = decider(by)
        done = deferrals.decide(open_call, Event.WAIVER, who, note)
    sentence = f"waived call {open_call.id}"
    if open_call.resolution is not None:
        sentence += ": its receipt stays, so give the customer the amount back"
    tell(sentence, _done(open_call, done, who, note), form)


@deferred.command(epilog=examples('deferred accept 2 --note "the customer agreed"'))
def accept(
    call: Call,
    note: Note,
    by: By = "",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Let a charge stand that came after its call was waived, or closed without a charge."""
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found), _deferrals(found) as deferrals:
        reopened = deferrals.find(call, Event.ACCEPTANCE)
        who = decider(by)
        done = deferrals.decide(reopened, Event.ACCEPTANCE, who, note)
    tell(f"accepted the charge of call {reopened.id}", _done(reopened, done, who, note), form)


@deferred.command(epilog=examples("deferred history 2"))
def history(
    call: Call,
    limit: MostRows = 50,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show what became of a deferred call: each step, who took it and when."""
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(DATABASE)
    with explained(found), _deferrals(found) as deferrals:
        listing = deferrals.history(deferrals.any_of(call), limit)
    show("What became of the deferred call", listing, form)


@deferred.command(
    name="apply-rule", epilog=examples("deferred apply-rule", "deferred apply-rule --apply")
)
def apply_rule(
    apply: Annotated[
        bool, typer.Option("--apply", help="Settle them. Without it they are shown only.")
    ] = False,
    by: By = "",
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Settle old deferred calls with the cost that their `cost_breakdown` suggests.

    Those of the models in BILLING_BREAKDOWN_MODELS, which is empty: the rule is off.
    """
    form = form_of(as_json=as_json, as_csv=as_csv)
    found = settings(*([KAFKA, DATABASE] if apply else [DATABASE]))
    rule = found.breakdown_rule()
    rows = list[Row]()
    with explained(found), _deferrals(found) as deferrals:
        for one in deferrals.suggested():
            if not rule.takes(one.reason, one.model, one.cost_usd, one.age):
                continue
            if apply and not _settle_by_rule(found, deferrals, one, decider(by)):
                continue
            rows.append({"id": one.id, "call_key": one.call_key, "model": one.model,
                         "cost_usd": one.cost_usd, "age": one.age,
                         "done": "sent" if apply else "shown"})  # fmt: skip
    names = ["id", "call_key", "model", "cost_usd", "age", "done"]
    show("Deferred calls that the rule settles", Listing(names, rows), form)


def _settle_by_rule(found: Settings, deferrals: Deferrals, one: Suggested, by: str) -> bool:
    """Send the cost of one call; say whether it was. Tells why it was not."""
    try:
        call = deferrals.find(str(one.id), Event.BREAKDOWN)
        record = settlement.original(kafka(found), call)
    except SettlementError as error:
        typer.echo(str(error), err=True)
        return False
    said = Settlement(by, _RULE_NOTE, call.call_key, from_breakdown=True)
    settlement.send(sender(found), record, one.cost_usd, said)
    return True


def _deferrals(found: Settings) -> closing[Deferrals]:
    return closing(Deferrals(found.database_url.get_secret_value()))


def _done(call: OpenCall, what: str, by: str, note: str, cost: Decimal | None = None) -> Row:
    return {
        "id": call.id,
        "source": call.source_system,
        "call_key": call.call_key,
        "done": what,
        "cost_usd": cost,
        "by": by,
        "note": note,
    }


def _cost(text: str) -> Decimal:
    try:
        cost = Decimal(text)
    except InvalidOperation:
        fail(f"--cost takes a decimal such as 0.0125, not {text!r}", 2)
    if not cost.is_finite() or cost <= 0:
        fail("--cost must be over 0; to charge nothing, use `deferred waive`", 2)
    return cost
