"""What every command shares: where it prints, how it fails, which settings it has."""

import logging
import sys
from typing import Final, NoReturn

import structlog
import typer
from rich.console import Console

from consumer.settings import Settings, load
from schemas.environment import ConfigurationError

KAFKA: Final = "KAFKA_BOOTSTRAP_SERVERS"
DATABASE: Final = "DATABASE_URL"

# Piped output has no width of its own; tables need one that fits them.
out: Final = Console(width=None if sys.stdout.isatty() else 140)
err: Final = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong and end: 1 for a failure, 2 for wrong usage or configuration."""
    err.print(f"error: {message}", markup=False)
    raise typer.Exit(code)


def place(text: str) -> tuple[int, int]:
    """Read PARTITION:OFFSET; ends the command with 2 where it is none."""
    partition, colon, offset = text.partition(":")
    if not (colon and partition.isdecimal() and offset.isdecimal()):
        fail(f"a place is PARTITION:OFFSET such as 3:1200, not {text!r}", 2)
    return int(partition), int(offset)


def settings(*needed: str) -> Settings:
    """Read the settings and set logging up; ends with 2 where the environment is wrong.

    `needed` names the variables without which the command cannot do anything.
    """
    try:
        found = load()
    except ConfigurationError as error:
        fail(f"wrong configuration; see docs/configuration.md\n{error}", 2)
    given = {KAFKA: found.kafka_bootstrap_servers, DATABASE: found.database_url.get_secret_value()}
    if missing := [name for name in needed if not given[name]]:
        fail(f"{' and '.join(missing)} must be set; see docs/configuration.md", 2)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[found.consumer_log_level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.getLogger("librdkafka").addHandler(_Forward())
    logging.getLogger("librdkafka").propagate = False
    return found


class _Forward(logging.Handler):
    """Puts the Kafka client's own lines among ours."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger("librdkafka").warning(record.getMessage())
