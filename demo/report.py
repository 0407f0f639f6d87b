"""What the demo prints: calls, receipts, sums, the audit, checks, and where to look next."""

from collections.abc import Sequence
from decimal import Decimal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from demo.calls import Answer
from demo.completion import Total
from demo.ledger import Ledger
from demo.prepaid import Credit
from demo.reconciling import Audit, Line
from demo.run_tree import Row
from demo.spending import Run, Spending, SubAgent
from demo.verdict import Check

_WIDE = 111  # columns that all of a receipt takes; the tables after it name the runs as well
_NO_RUN = "(no run)"
_FLOATS = (
    "LiteLLM computes in floats; its figure is billed as it is, to the last digit, then rounded up "
    "once."
)


def calls_table() -> Table:
    """Return the table that `add_call` fills while the calls are made."""
    return _table(
        "Calls, as their clients see them", "call", "model", "answer", "status>", "cost header>"
    )


def add_call(table: Table, answer: Answer) -> None:
    """Add one call: what was asked, and what came back."""
    call = answer.call
    style = "" if answer.status < 400 else "red"  # noqa: PLR2004 - where HTTP's errors begin
    table.add_row(
        call.kind,
        call.model,
        "streamed" if call.stream else "plain",
        Text(str(answer.status), style=style),
        Text("none", style="dim") if answer.cost is None else answer.cost,
    )


def show(console: Console, answers: tuple[Answer, ...], ledger: Ledger, spent: Spending) -> None:
    """Print what became of the calls."""
    console.print()
    console.print(_receipts(answers, ledger, wide=console.width >= _WIDE))
    console.print(Text(_FLOATS, style="dim"))
    console.print()
    console.print(_deferred(answers, ledger))
    for (outcome, reason), count in sorted(ledger.records.items()):
        if outcome not in ("created", "deferred"):
            console.print(f"{count} call(s) {outcome}: {reason}")
    console.print()
    console.print(_runs(spent.runs))
    console.print()
    console.print(_sub_agents(spent.sub_agents))


def show_tree(
    console: Console, answers: tuple[Answer, ...], tree: Sequence[Row], total: Total
) -> None:
    """Print a run, its agents and their calls, and what others were told when it had ended."""
    kinds = {answer.call_id: answer.call.kind for answer in answers}
    columns = ("run, agents, calls", "calls>", "charged, USD>", "names")
    table = _table("Tree of a run, by `billing run`", *columns)
    for row in tree:
        name = f"(no agent) {row.name}" if row.kind == "model" else kinds.get(row.name, row.name)
        calls = "" if row.kind == "call" else str(row.calls)
        table.add_row(
            Text(f"{'  ' * row.depth}{name}"), calls, _usd(row.charged_usd), row.signature
        )
    console.print()
    console.print(table)
    console.print(
        f"The run has ended. {total.seconds:.1f} s later billing.run.settled.v1 says: "
        f"{total.calls} calls, {_usd(total.charged_usd)} USD, {total.open_calls} open.",
        soft_wrap=True,
    )


def show_credit(console: Console, answers: tuple[Answer, ...], credit: Credit) -> None:
    """Print what a prepaid account's clients saw, what it has, and what its calls held."""
    refused = [answer for answer in answers if answer.message]
    console.print()
    table = calls_table()
    for answer in answers:
        add_call(table, answer)
    console.print(table)
    for message in {answer.message: None for answer in refused}:
        console.print(Text(message, style="red"))
    for table in (_account(credit), _movements(credit), _holds(answers, credit)):
        console.print()
        console.print(table)
    console.print(Text(_told(answers, credit), style="dim"))


def show_posted(console: Console, count: int) -> None:
    """Print how many lost calls the reconciler has found."""
    console.print(
        f"The reconciler has compared LiteLLM's spend log with the books and posted {count} lost "
        "call(s).",
        soft_wrap=True,
    )


def show_audit(console: Console, audit: Audit) -> None:
    """Print what became of the rows of LiteLLM's log."""
    table = _table(
        "Audit: LiteLLM's log against the books", "what", "calls>", "log, USD>", "receipts, USD>"
    )
    table.show_footer = True
    for line in audit.lines:
        table.add_row(*_audited(line))
    for column, text in zip(table.columns, _audited(audit.rows), strict=True):
        column.footer = text
    console.print()
    console.print(table)


def _audited(line: Line) -> tuple[str, str, str, str]:
    return line.what, str(line.calls), _usd(line.log_usd), _usd(line.receipts_usd)


def show_checks(console: Console, checks: Sequence[Check]) -> None:
    """Print each promise and whether it holds."""
    console.print()
    for check in checks:
        mark = ("ok     ", "green") if check.holds else ("FAILED ", "bold red")
        console.print(Text.assemble("  ", mark, check.sentence))
        if not check.holds:
            console.print(Text(f"         {check.seen}"), soft_wrap=True)


def show_next(console: Console) -> None:
    """Print where to look next."""
    table = Table(title="Where to look next", title_justify="left", box=None, show_header=False)
    table.add_row("make up", "the same stack in the background; addresses and secrets in .run/env")
    table.add_row("report", "set -a; . .run/env; set +a; ./billing report")
    table.add_row("spending", "./billing spend --by account,model; ./billing spend --by run,agent")
    table.add_row("credits", "./billing accounts; docs/spend-guard.md: ask the guard by hand")
    table.add_row("SQL", 'psql "$DATABASE_URL", then: select * from billing.charge_receipts')
    table.add_row("tables", "charge_receipts, deferred_calls, receipt_conflicts")
    table.add_row(
        "topics", "billing.callbacks.v1, its .dlq, billing.receipts.v1 (schemas/topics.yaml)"
    )
    table.add_row("metrics", "$GATEWAY_METRICS_URL/metrics and $CONSUMER_METRICS_URL/metrics")
    table.add_row("your proxy", "docs/litellm.md: connecting your LiteLLM")
    table.add_row("promises", "docs/invariants.md")
    console.print()
    console.print(table)


def _receipts(answers: tuple[Answer, ...], ledger: Ledger, *, wide: bool) -> Table:
    kinds = {answer.call_id: answer.call.kind for answer in answers}
    runs = ("run", "sub-agent") if wide else ()
    figures = ("in>", "out>", "LiteLLM's cost, USD>", "credits>", "why")
    table = _table("Receipts", "call", "account", *runs, *figures)
    for row in ledger.receipts:
        names = (row.run_id, row.sub_agent_id) if wide else ()
        table.add_row(
            kinds[row.litellm_call_id],
            row.billing_account_id,
            *(name or Text("-", style="dim") for name in names),
            str(row.tokens_in),
            str(row.tokens_out),
            _usd(row.response_cost_usd),
            f"{row.charged_credits:,}",
            row.charge_reason,
        )
    return table


def _deferred(answers: tuple[Answer, ...], ledger: Ledger) -> Table:
    kinds = {answer.call_id: answer.call.kind for answer in answers}
    table = _table(
        "Deferred: no receipt until somebody says what they cost",
        "call",
        "model",
        "in>",
        "out>",
        "why",
    )
    for row in ledger.deferred:
        table.add_row(
            kinds[row.litellm_call_id],
            row.model,
            str(row.tokens_in),
            str(row.tokens_out),
            f"{row.reason}: a cost of 0 from a model that nobody declared free",
        )
    return table


def _account(credit: Credit) -> Table:
    columns = ("account", "kind", "balance, USD>", "held, USD>", "available, USD>")
    table = _table("Account, by `billing accounts`", *columns)
    sums = (credit.balance_usd, credit.held_usd, credit.available_usd)
    table.add_row(credit.account, credit.kind, *map(_usd, sums))
    return table


def _movements(credit: Credit) -> Table:
    table = _table(
        "What moved its credits, by `billing credit entries`",
        *("movement", "amount, USD>", "balance, USD>", "receipts>"),
    )
    for row in credit.movements:
        count = "" if row.receipts is None else str(row.receipts)
        table.add_row(row.reason, _usd(row.amount_usd), _usd(row.balance_usd), count)
    return table


def _holds(answers: tuple[Answer, ...], credit: Credit) -> Table:
    kinds = {answer.call_id: answer.call.kind for answer in answers}
    table = _table(
        "What its calls held, by `billing holds`",
        *("call", "state", "held, USD>", "charged, USD>"),
    )
    for row in credit.holds:
        charged = "" if row.captured_usd is None else _usd(row.captured_usd)
        name = kinds.get(row.litellm_call_id, row.litellm_call_id)
        table.add_row(name, row.state, _usd(row.amount_usd), charged)
    return table


def _told(answers: tuple[Answer, ...], credit: Credit) -> str:
    refused = sum(answer.call.outcome == "skipped" for answer in answers)
    held = " or ".join(sorted({_usd(one.amount_usd) for one in credit.holds}))
    return (
        f"Before each call the most that it may cost was held, {held} USD. The receipt took what "
        f"it did cost and freed the rest. What was left did not cover another call, so {refused} "
        "were refused before a model was asked."
    )


def _runs(rows: Sequence[Run]) -> Table:
    table = _table("Cost per run", "run", "calls>", "cost, USD>", "charged, USD>", "credits>")
    table.show_footer = True
    for row in rows:
        table.add_row(row.run_id or _NO_RUN, str(row.calls), *_sums(row))
    cost = sum((row.response_cost_usd for row in rows), Decimal(0))
    charged = sum((row.charged_usd for row in rows), Decimal(0))
    count = sum(row.calls for row in rows)
    totals = (
        str(count),
        _usd(cost),
        _usd(charged),
        f"{sum(row.charged_credits for row in rows):,}",
    )
    for column, text in zip(table.columns, ("total", *totals), strict=True):
        column.footer = text
    return table


def _sub_agents(rows: Sequence[SubAgent]) -> Table:
    columns = ("run", "sub-agent", "calls>", "charged, USD>", "credits>", "with its sub-agents>")
    table = _table("Cost per sub-agent", *columns)
    for row in rows:
        if row.run_id is not None:
            name = f"{'  ' * row.depth}{row.sub_agent_id or '(itself)'}"
            below = f"{row.credits_below:,}"
            table.add_row(row.run_id, Text(name), str(row.calls), *_sums(row)[1:], below)
    return table


def _sums(row: Run) -> tuple[str, str, str]:
    return _usd(row.response_cost_usd), _usd(row.charged_usd), f"{row.charged_credits:,}"


def _table(title: str, *columns: str) -> Table:
    """Return an empty table; a column whose name ends in `>` is flush right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in columns:
        right = name.endswith(">")
        table.add_column(
            name.rstrip(">"), justify="right" if right else "left", no_wrap=right, style=""
        )
    return table


def _usd(amount: Decimal) -> str:
    """Return every digit of an amount, never an exponent."""
    text = f"{amount.normalize():f}"
    return "0" if amount == 0 else text
