"""The command line: `python -m producer_gateway`."""

import json
import signal
import sys
from functools import partial
from typing import Final

import typer
import uvloop

from producer_gateway.heap import keep_freed_memory
from producer_gateway.operations import spool
from producer_gateway.routes import openapi as describe
from producer_gateway.service import FatalError, serve
from producer_gateway.settings import load
from runtime import logs
from runtime.environment import ConfigurationError
from runtime.exits import exit_after

_RUNTIME_FAILURE: Final = 1
_WRONG_CONFIGURATION: Final = 2

cli = typer.Typer(
    name="producer_gateway",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Receives LiteLLM's generic_api callbacks over HTTP and stores them durably in Kafka.",
)
cli.add_typer(spool, name="spool")


@cli.command()
def run() -> None:
    """Serve until SIGTERM. On SIGHUP it reads the token files again.

    Callbacks go to POST /v1/callbacks/litellm on GATEWAY_HOST:GATEWAY_PORT (127.0.0.1:8080);
    /livez, /readyz and /metrics are on GATEWAY_METRICS_HOST:GATEWAY_METRICS_PORT (127.0.0.1:9090).

    Needs BILLING_INGEST_TOKEN and KAFKA_BOOTSTRAP_SERVERS, and the topics that
    `billing topics --apply` creates. Exit codes: 0 stopped by a signal, 1 a failure
    while running, 2 wrong configuration.
    """
    try:
        settings = load()
    except ConfigurationError as error:
        typer.echo(f"wrong configuration: {error}", err=True)
        sys.exit(_WRONG_CONFIGURATION)
    logs.configure(settings.log_level)
    keep_freed_memory()
    # Its meaning is given when there is something to give it to; until then it ends nothing.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        uvloop.run(serve(settings))
    except FatalError as error:
        typer.echo(f"stopped: {error}", err=True)
        sys.exit(_RUNTIME_FAILURE)


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document of the callbacks port."""
    typer.echo(json.dumps(describe(), indent=2))


if __name__ == "__main__":
    exit_after(partial(cli, prog_name="python -m producer_gateway"))
