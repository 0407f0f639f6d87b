"""The operator's command line: `billing --help`, or `python -m operator_cli --help`."""

import os
import sys
from typing import Annotated

import typer

from ledger import migration
from ledger.healing import LedgerError
from operator_cli.dead_letters import dead_letters
from operator_cli.deferred import deferred
from operator_cli.explain import explain
from operator_cli.replay import replay
from operator_cli.report import report
from operator_cli.terminal import DATABASE, examples, fail, out, settings
from operator_cli.topics import topics
from runtime import VERSION

# Plain help: a page of text that fits a screen and goes through a pipe as it is.
app = typer.Typer(
    name="billing",
    help="Answers what became of LLM calls and their money, and does by hand what people decide.",
    epilog="Settings come from the environment: docs/configuration.md lists them all. "
    "Exit codes: 0 fine, 1 a failure that the message explains, 2 wrong usage or configuration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - how an option's callback is called
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def billing(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_version, help="Print the version."),
    ] = False,
) -> None:
    """Answers what became of LLM calls and their money, and does by hand what people decide."""


app.command(
    short_help="Receipts, sums of runs and accounts, deferred calls.",
    epilog=examples(
        "report",
        "report --table accounts --from 2026-11-01 --to 2026-12-01",
        "report --table receipts --account team-a --limit 1000 --csv > receipts.csv",
    ),
)(report)
app.command(
    short_help="What became of a call, and why.",
    epilog=examples(
        "explain 6a4e1a8e-52a7-4f0e-9d39-1f0f5a3a5a11",
        "explain chatcmpl-BvL3kq --json",
        "explain run-7f3a",
    ),
)(explain)
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
    short_help="What could not be billed: list, show, replay.",
)
app.command(
    short_help="Callbacks through the ledger again.",
    epilog=examples(
        "replay --from-time 2026-11-21T00:00:00+0000",
        "replay --from-offset 3:0 --apply",
    ),
)(replay)


@app.command(
    short_help="What waits on a gateway's disk; bring it to Kafka.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    add_help_option=False,
    epilog=examples("spool list --dir /var/lib/billing-spool"),
)
def spool(context: typer.Context) -> None:
    """Look into a gateway's spool, bring it to Kafka: `billing spool --help` says how."""
    # The spool is the gateway's, whose room this one does not import.
    passed_on = ["-m", "producer_gateway", "spool", *context.args]
    os.execv(sys.executable, [sys.executable, *passed_on])  # noqa: S606


app.command(
    short_help="Kafka's topics against their declaration.",
    epilog=examples("topics", "topics --apply --replication-factor 3"),
)(topics)


@app.command(
    short_help="The database's schema, brought up to date.",
    epilog=examples("migrate", "migrate --check", "migrate --to 0010"),
)
def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when something is pending.")
    ] = False,
    to: Annotated[
        str | None, typer.Option(metavar="REVISION", help="The last migration to apply.")
    ] = None,
) -> None:
    """Bring the database to the schema that this release needs.

    Consumers may write meanwhile. What is interrupted goes on when it is run again.
    """
    url = settings(DATABASE).database_url.get_secret_value()
    try:
        pending = migration.pending(url)
        if check:
            out.print(f"pending: {', '.join(pending)}" if pending else "the schema is up to date")
            raise typer.Exit(1 if pending else 0)
        applied = migration.migrate(url, to) if pending else []
        if not pending:
            migration.identified(url)
    except migration.UnknownRevisionError as error:
        fail(str(error), 2)
    except migration.NewerSchemaError as error:
        fail(f"{error}: the schema is newer. Run the release that migrated it, or a newer one")
    except migration.TableHeldError as error:
        fail(f"nothing was changed by the last step: {error}")
    except LedgerError as error:
        fail(f"PostgreSQL: {str(error).strip()}. Check DATABASE_URL and the user's rights")
    # Nothing, where another process was quicker.
    out.print(f"applied: {', '.join(applied)}" if applied else "the schema is up to date")


def main() -> None:
    """Run the command line under its name, however it was started."""
    app(prog_name="billing")


if __name__ == "__main__":
    main()
