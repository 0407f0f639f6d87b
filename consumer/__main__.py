"""The consumer's command line: `python -m consumer --help`."""

import logging
import sys
from typing import Annotated, NoReturn

import psycopg
import structlog
import typer
from confluent_kafka import KafkaException
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import DBAPIError

from consumer import migration, service
from consumer.cluster import Cluster, Difference, reason
from consumer.limit import DeadLetterLimitError
from consumer.report import TABLES, report
from consumer.settings import Settings
from schemas.topics import load_topics

app = typer.Typer(
    help="Turns callbacks into exact, idempotent charge receipts.",
    epilog="Settings come from the environment: docs/configuration.md lists them all. "
    "Exit codes: 0 fine, 1 a failure that the message explains, 2 wrong usage or configuration.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# Piped output has no width of its own; tables need one that fits them.
out = Console(width=None if sys.stdout.isatty() else 140)
err = Console(stderr=True, highlight=False)


def _fail(message: str, code: int = 1) -> NoReturn:
    err.print(f"error: {message}", markup=False)
    raise typer.Exit(code)


def _settings() -> Settings:
    try:
        settings = Settings()
    except ValidationError as error:
        faults = [
            f"{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_url=False, include_input=False)
        ]
        _fail("wrong configuration; see docs/configuration.md\n  " + "\n  ".join(faults), 2)
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    return settings


@app.command()
def run() -> None:
    """Consume callbacks until SIGTERM; then finish the batch in hand.

    Needs the migrations and the topics: run `migrate` and `topics --apply` first.
    """
    settings = _settings()
    try:
        service.run(settings)
    except DeadLetterLimitError as error:
        _fail(
            f"stopped by the dead-letter limit: {error}. Nothing of that batch was committed. Good "
            "data means a bad release: mend it and start again. Bad data: raise "
            "CONSUMER_DEAD_LETTER_RUN or CONSUMER_DEAD_LETTER_SHARE to let it be parked"
        )
    except KafkaException as error:
        _fail(f"Kafka at {settings.kafka_bootstrap_servers}: {reason(error)}")
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        _fail("the database has no ledger yet: run `python -m consumer migrate`")
    except psycopg.Error as error:
        _fail(f"PostgreSQL: {str(error).strip()}. Check DATABASE_URL and CONSUMER_DATABASE_ROLE")
    except OSError as error:
        _fail(f"probes on port {settings.consumer_metrics_port}: {error}. "
              "Set CONSUMER_METRICS_PORT to a free port")  # fmt: skip


@app.command()
def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when something is pending.")
    ] = False,
) -> None:
    """Bring the database to the schema that this release needs."""
    url = _settings().database_url.get_secret_value()
    try:
        pending = migration.pending(url)
        if check or not pending:
            out.print(f"pending: {', '.join(pending)}" if pending else "the schema is up to date")
            raise typer.Exit(1 if pending else 0)
        migration.migrate(url)
    except (psycopg.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        _fail(f"PostgreSQL: {str(cause).strip()}. Check DATABASE_URL and the user's rights")
    out.print(f"applied: {', '.join(pending)}")


@app.command()
def topics(
    apply: Annotated[
        bool, typer.Option("--apply", help="Create and grow; without it, only show.")
    ] = False,
    replication_factor: Annotated[
        int | None, typer.Option(help="Replicas of new topics; -1 is the broker's default.")
    ] = None,
) -> None:
    """Compare the cluster's topics with their declaration. Never shrinks, never deletes."""
    settings = _settings()
    declared = load_topics(settings.billing_topic_prefix)
    replicas = replication_factor or settings.billing_topic_replication_factor
    try:
        cluster = Cluster(service.kafka_config(settings), replicas)
        differences = cluster.differences(declared)
        out.print(_differences_table(differences))
        if all(difference.settled for difference in differences):
            out.print("nothing to do")
        elif apply:
            cluster.apply(differences)
            out.print("applied")
        else:
            out.print("dry run: add --apply to bring this about")
    except KafkaException as error:
        _fail(f"Kafka at {settings.kafka_bootstrap_servers}: {reason(error)}")


def _differences_table(differences: list[Difference]) -> Table:
    table = Table("topic", "partitions", "settings", "to do")
    for difference in differences:
        partitions = f"{difference.partitions} of {difference.topic.partitions}"
        changes = [f"{name}: {old} → {new}" for name, (old, new) in difference.config.items()]
        to_do = "create" if not difference.exists else "grow" if difference.grows else ""
        table.add_row(
            difference.topic.name,
            partitions,
            "\n".join(changes),
            to_do or ("set" if changes else ""),
        )
    return table


@app.command(name="report")
def report_command(
    table: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(TABLES)}; repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most rows in a table.")] = 20,
) -> None:
    """Print receipts, cost of runs and sub-agents, sums of accounts, and open deferrals."""
    wanted = table or list(TABLES)
    if unknown := set(wanted) - TABLES.keys():
        _fail(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}", 2)
    try:
        report(_settings().database_url.get_secret_value(), wanted, limit, out)
    except psycopg.errors.UndefinedTable:
        _fail("the database has no ledger yet: run `python -m consumer migrate`")
    except psycopg.Error as error:
        _fail(f"PostgreSQL: {str(error).strip()}. Check DATABASE_URL")


if __name__ == "__main__":
    app()
