"""The command line: `python -m spend_guard`."""

import json
import sys
from functools import partial
from typing import Final, NoReturn

import typer
import uvloop

from ledger.healing import LedgerError, advice
from runtime.environment import ConfigurationError
from runtime.exits import exit_after
from runtime.logs import configure
from spend_guard.app import openapi as describe
from spend_guard.service import serve
from spend_guard.settings import load

_FAILURE: Final = 1
_WRONG_CONFIGURATION: Final = 2
_ROLE: Final = "SPEND_GUARD_DATABASE_ROLE"

cli = typer.Typer(
    name="spend_guard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Says before each call whether its account can afford it, and holds the credits for it.",
    epilog="Settings come from the environment: docs/configuration.md lists them all.",
)


@cli.command()
def run() -> None:
    """Serve until SIGTERM.

    Asks go to POST /v1/holds on SPEND_GUARD_HOST:SPEND_GUARD_PORT (127.0.0.1:8081); /livez, /readyz
    and /metrics are on SPEND_GUARD_METRICS_HOST:SPEND_GUARD_METRICS_PORT (127.0.0.1:9096).

    Needs SPEND_GUARD_TOKENS and DATABASE_URL, and the tables that `billing migrate` creates. Exit
    codes: 0 stopped by a signal, 1 a failure while running, 2 wrong configuration.
    """
    try:
        settings = load()
    except ConfigurationError as error:
        _fail(f"wrong configuration; see docs/configuration.md\n{error}", _WRONG_CONFIGURATION)
    configure(settings.spend_guard_log_level)
    try:
        uvloop.run(serve(settings))
    except LedgerError as error:
        _fail(advice(error, settings.spend_guard_database_role, _ROLE))
    except OSError as error:
        _fail(f"cannot listen: {error}. Set SPEND_GUARD_PORT and SPEND_GUARD_METRICS_PORT")


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    typer.echo(json.dumps(describe(), indent=2))


def _fail(message: str, code: int = _FAILURE) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    exit_after(partial(cli, prog_name="python -m spend_guard"))
