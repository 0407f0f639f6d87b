"""The command line of what people do by hand: `python -m operator_cli --help`."""

from typing import Annotated

import typer
from confluent_kafka import KafkaException
from rich.table import Table

from ledger import migration
from ledger.healing import LedgerError, advice
from operator_cli.cluster import Cluster, Difference
from operator_cli.dead_letters import dead_letters
from operator_cli.deferred import deferred
from operator_cli.replay import replay
from operator_cli.report import TABLES, report
from operator_cli.terminal import DATABASE, KAFKA, fail, kafka, out, settings
from runtime.kafka import reason
from schemas.topics import load_topics

app = typer.Typer(
    help="What people do by hand: topics, migrations, reports, deferred calls, dead letters.",
    epilog="Settings come from the environment: docs/configuration.md lists them all. "
    "Exit codes: 0 fine, 1 a failure that the message explains, 2 wrong usage or configuration.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(replay)
app.add_typer(deferred, name="deferred", no_args_is_help=True)
app.add_typer(dead_letters, name="dead-letters", no_args_is_help=True)


@app.command()
def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when something is pending.")
    ] = False,
) -> None:
    """Bring the database to the schema that this release needs."""
    url = settings(DATABASE).database_url.get_secret_value()
    try:
        pending = migration.pending(url)
        if check or not pending:
            out.print(f"pending: {', '.join(pending)}" if pending else "the schema is up to date")
            raise typer.Exit(1 if pending else 0)
        applied = migration.migrate(url)
    except migration.NewerSchemaError as error:
        fail(f"{error}: the schema is newer. Run the release that migrated it, or a newer one")
    except LedgerError as error:
        fail(f"PostgreSQL: {str(error).strip()}. Check DATABASE_URL and the user's rights")
    # Nothing, where another process was quicker.
    out.print(f"applied: {', '.join(applied)}" if applied else "the schema is up to date")


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
    found = settings(KAFKA)
    declared = load_topics(found.billing_topic_prefix)
    replicas = replication_factor or found.billing_topic_replication_factor
    try:
        cluster = Cluster(kafka(found), replicas)
        differences = cluster.differences(declared)
        out.print(_differences_table(differences))
        if all(difference.settled for difference in differences):
            out.print("nothing to do")
        elif apply:
            for one in cluster.apply(differences):
                out.print(f"not taken: {one.topic}, {one.setting}={one.wanted}: {one.why}",
                          markup=False)  # fmt: skip
            out.print("applied")
        else:
            out.print("dry run: add --apply to bring this about")
        for remark in cluster.remarks(declared):
            out.print(f"note: {remark}", markup=False)
    except KafkaException as error:
        fail(f"Kafka at {found.kafka_bootstrap_servers}: {reason(error)}")


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
        fail(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}", 2)
    try:
        report(settings(DATABASE).database_url.get_secret_value(), wanted, limit, out)
    except LedgerError as error:
        fail(advice(error))


if __name__ == "__main__":
    app()
