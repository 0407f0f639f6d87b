"""The operator's command line: `billing --help`, or `python -m operator_cli --help`."""

import os
import sys
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from operator_cli.accounts import accounts
from operator_cli.correct import correct
from operator_cli.credit import credit
from operator_cli.dead_letters import dead_letters
from operator_cli.deferred import deferred
from operator_cli.doctor import doctor
from operator_cli.estimate import estimate
from operator_cli.explain import explain
from operator_cli.findings import findings
from operator_cli.holds import holds
from operator_cli.migrate import migrate
from operator_cli.replay import replay
from operator_cli.report import report
from operator_cli.run import run
from operator_cli.spend import spend
from operator_cli.statement import statement
from operator_cli.terminal import examples
from operator_cli.topics import topics
from operator_cli.verify import verify
from runtime import VERSION
from runtime.exits import exit_after


class FirstPage(TyperGroup):
    """The commands alone: what options there are says the line of usage, and the page fits."""

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer keeps their types to itself
        """Write the commands, without the empty line that would go before them."""
        at = len(formatter.buffer)
        self.format_commands(ctx, formatter)
        if formatter.buffer[at] == "\n":
            del formatter.buffer[at]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - as above
        """Write what the program does, right below how it is called."""
        formatter.write_text(self.help or "")

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, ARG002 - as above
        """Write where the settings stand, right below the commands."""
        formatter.write_text(self.epilog or "")


# Plain help: a page of text that fits a screen and goes through a pipe as it is.
app = typer.Typer(
    name="billing",
    cls=FirstPage,
    help="What became of LLM calls and what they cost; settles, replays and repairs.",
    epilog="Settings: docs/configuration.md. Exit codes: 0 fine, 1 failed, 2 wrong use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - how an option's callback is called
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback(options_metavar="[--version] [--help]")
def billing(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version, help="Print the version."),
    ] = False,
) -> None:
    """What became of LLM calls and what they cost; settles, replays and repairs."""


app.command(
    short_help="Show receipts, sums by run and by account, deferred calls.",
    epilog=examples(
        "report",
        "report --table accounts --from 2026-11-01 --to 2026-12-01",
        "report --table receipts --from 2026-11-01T09:30+01:00 --json",
        "report --table receipts --account team-a --limit 1000 --csv > receipts.csv",
    ),
)(report)
app.command(
    short_help="Show what was spent, by account, team, key, day, run ...",
    epilog=examples(
        "spend --from 2026-10-01 --to 2026-11-01 --by team",
        "spend --from 2026-10-01 --to 2026-11-01 --by account,model --csv > october.csv",
        "spend --from 2026-10-01 --to 2026-11-01 --team team-a --by key,day --json",
        "spend --run run-7f3a --by agent",
    ),
)(spend)
app.command(
    short_help="Show what a run has cost, by its agents and their calls.",
    epilog=examples("run run-7f3a", "run run-7f3a --limit 0", "run run-7f3a --json"),
)(run)
app.command(
    short_help="Show what an account owes for a month.",
    epilog=examples(
        "statement acme 2026-10",
        "statement acme 2026-10 --csv > acme-2026-10.csv",
        "statement acme 2026-10 --json",
    ),
)(statement)
app.command(
    short_help="Show accounts of credits: balance, held, limit, available.",
    epilog=examples("accounts", "accounts --account acme --json", "accounts --all --csv > all.csv"),
)(accounts)
app.command(
    short_help="Show credits that calls hold, and what became of them.",
    epilog=examples("holds --state held", "holds --account acme --limit 1000 --csv > holds.csv"),
)(holds)
app.command(
    short_help="Show what became of a call, and why.",
    epilog=examples(
        "explain 6a4e1a8e-52a7-4f0e-9d39-1f0f5a3a5a11",
        "explain chatcmpl-BvL3kq --json",
        "explain run-7f3a",
    ),
)(explain)
app.add_typer(
    credit,
    name="credit",
    no_args_is_help=True,
    short_help="Credits: grant, refund, correct, limit, list, audit.",
)
app.add_typer(
    correct,
    name="correct",
    no_args_is_help=True,
    short_help="Correct what a receipt charges: list, open.",
)
app.add_typer(
    estimate,
    name="estimate",
    no_args_is_help=True,
    short_help="What is held for calls: rates learned, tried on past calls.",
)
app.add_typer(
    deferred,
    name="deferred",
    no_args_is_help=True,
    short_help="Calls without a receipt yet: list, settle, waive.",
)
app.add_typer(
    dead_letters,
    name="dead-letters",
    no_args_is_help=True,
    short_help="Records that could not be billed: list, show, replay.",
)
app.add_typer(
    findings,
    name="findings",
    no_args_is_help=True,
    short_help="What the reconciler has found: list, close.",
)
app.command(
    short_help="Decide callbacks again, and write the rows that are missing.",
    epilog=examples(
        "replay --from-time 2026-11-21",
        "replay --from-offset 3:0 --apply",
    ),
)(replay)


@app.command(
    short_help="Show a gateway's spool, and bring it to Kafka.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    add_help_option=False,
    epilog=examples("spool list --dir /var/lib/billing-spool"),
)
def spool(context: typer.Context) -> None:
    """Show a gateway's spool, and bring it to Kafka: `billing spool --help` lists the commands."""
    # The spool is the gateway's, whose room this one does not import.
    passed_on = ["-m", "producer_gateway.operations", *context.args]
    os.execv(sys.executable, [sys.executable, *passed_on])  # noqa: S606


@app.command(
    short_help="Compare the spend log, a bill, or prices with the books.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    add_help_option=False,
    epilog=examples(
        "audit --from 2026-11-01 --to 2026-12-01", "audit --provider-bill openai-costs.csv"
    ),
)
def audit(context: typer.Context) -> None:
    """Compare what others say of calls with the books: as `python -m reconciler audit`."""
    # The log is the reconciler's, whose room this one does not import.
    os.execv(sys.executable, [sys.executable, "-m", "reconciler", "audit", *context.args])  # noqa: S606


app.command(
    short_help="Look for rows that were changed behind the ledger's back.",
    epilog=examples("verify", "verify --published checkpoints.jsonl", "verify --seal-rest"),
)(verify)
app.command(
    short_help="Compare Kafka's topics with their declaration.",
    epilog=examples("topics", "topics --apply --replication-factor 3"),
)(topics)


app.command(
    short_help="Bring the database's schema up to date.",
    epilog=examples("migrate", "migrate --check", "migrate --to 0010", "migrate --check --json"),
)(migrate)


app.command(
    short_help="Ask every part whether it is set up right.",
    epilog=examples("doctor", "doctor --receipt", "doctor --json"),
)(doctor)


def main() -> None:
    """Run the command line under its name, however it was started."""
    exit_after(partial(app, prog_name="billing"))


if __name__ == "__main__":
    main()
