"""What every command shares: where it prints, how it fails, which settings it has."""

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, NoReturn

import typer
from confluent_kafka import KafkaException
from rich.console import Console

from charging.corrections import CorrectionError
from ledger.accounts import CreditError
from ledger.deferrals import SettlementError
from ledger.findings import FindingError
from ledger.healing import LedgerError, advice
from operator_cli.settings import Settings, load
from runtime import VERSION
from runtime.environment import ConfigurationError
from runtime.kafka import cause, client_config, sender_config
from runtime.logs import configure

CLIENT: Final = f"billing-operator-{VERSION}"
KAFKA: Final = "KAFKA_BOOTSTRAP_SERVERS"
DATABASE: Final = "DATABASE_URL"

_SUCH_AS: Final = {
    KAFKA: "broker-1:9092,broker-2:9092",
    DATABASE: "postgresql://user:password@host:5432/billing",
}
"""What such a variable looks like, for whom it is missing."""
_ENDLESS: Final = 1_000_000
_CRITICAL: Final = 2
"""Of syslog, by which librdkafka counts."""

Apply = Annotated[bool, typer.Option("--apply", help="Do it; without it, only show.")]

# Piped output has no width: a table takes what its longest values need, and nothing is cut.
out: Final = Console(width=None if sys.stdout.isatty() else _ENDLESS)
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
        lines = [f"{' and '.join(missing)} must be set; see docs/configuration.md"]
        lines += [f"  export {name}={_SUCH_AS[name]}" for name in missing]
        fail("\n".join(lines), 2)
    configure(found.consumer_log_level)
    return found


def decider(by: str) -> str:
    """Return who decides: `by`, else the user of the shell; ends with 2 where it has no name."""
    try:
        return by or getpass.getuser()
    except (KeyError, OSError):
        fail("this user has no name on this machine: say who decides this with --by", 2)


@contextmanager
def explained(found: Settings) -> Iterator[None]:
    """Turn what the services raise into a message and exit code 1."""
    try:
        yield
    except KafkaException as error:
        said = f"Kafka at {found.kafka_bootstrap_servers}: {cause(kafka(found), error)}"
        # A code below 0 is the client's own: no broker has said it.
        ours = error.args[0].code() < 0
        fail(f"{said}. Check the KAFKA_* variables" if ours else said)
    except LedgerError as error:
        fail(advice(error))
    except (SettlementError, FindingError, CreditError, CorrectionError) as error:
        fail(str(error))


def kafka(found: Settings) -> dict[str, Any]:
    """Return what every Kafka client of a command has in common."""
    return client_config(found, CLIENT) | _quiet(found)


def sender(found: Settings) -> dict[str, Any]:
    """Return the configuration of a command's producer for the callbacks topic."""
    return sender_config(found, CLIENT) | _quiet(found)


def _quiet(found: Settings) -> dict[str, Any]:
    """Keep the client from writing a line for each attempt: the command's own error says why."""
    return {} if found.consumer_log_level == "debug" else {"log_level": _CRITICAL}


def examples(*commands: str) -> str:
    """Return the end of a command's help: how it is called, a line each, `billing` left out."""
    return "\n".join(["\b", "Examples:", *(f"  billing {command}" for command in commands)])
