"""The consumer's own command: `run`."""

from typing import NoReturn

import typer
from confluent_kafka import KafkaException

from consumer import service
from consumer.former import BY_HAND
from consumer.heap import share_heaps
from consumer.limit import DeadLetterLimitError
from consumer.settings import Settings, load
from ledger.healing import LedgerError, advice
from runtime.environment import ConfigurationError
from runtime.kafka import cause
from runtime.logs import configure

app = typer.Typer(
    help="Turns callbacks into exact, idempotent charge receipts.",
    epilog=f"Also taken, and passed on to `billing`: {', '.join(BY_HAND)}. "
    "Settings come from the environment: docs/configuration.md lists them all. "
    "Exit codes: 0 fine, 1 a failure that the message explains, 2 wrong usage or configuration.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def consumer() -> None:
    """Turns callbacks into exact, idempotent charge receipts."""


@app.command()
def run() -> None:
    """Consume callbacks until SIGTERM; then finish the batch in hand.

    Needs the migrations and the topics: run `migrate` and `topics --apply` first.
    """
    found = _settings()
    share_heaps()
    try:
        service.run(found)
    except DeadLetterLimitError as error:
        _fail(
            f"stopped by the dead-letter limit: {error}, and this release cannot read or store its "
            "sample. Nothing of that batch was committed. This release is faulty: install the "
            "previous or a corrected one, and start again"
        )
    except KafkaException as error:
        _fail(
            f"Kafka at {found.kafka_bootstrap_servers}: {cause(service.kafka_config(found), error)}"
        )
    except ConfigurationError as error:
        _fail(str(error), 2)
    except LedgerError as error:
        _fail(advice(error, found.consumer_database_role))
    except OSError as error:
        _fail(
            f"probes on port {found.consumer_metrics_port}: {error}. "
            "Set CONSUMER_METRICS_PORT to a free port"
        )


def _settings() -> Settings:
    try:
        found = load()
    except ConfigurationError as error:
        _fail(f"wrong configuration; see docs/configuration.md\n{error}", 2)
    configure(found.consumer_log_level)
    return found


def _fail(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong and end: 1 for a failure, 2 for wrong usage or configuration."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)
