"""The command line: `python -m reconciler`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from time import sleep
from typing import Annotated

import msgspec
import typer

from ledger.healing import LedgerError, advice
from ledger.reconciler_lock import ReconcilerLock
from reconciler import service
from reconciler.audits import EXAMPLES, audit
from reconciler.completed import complete, named
from reconciler.parts import parts
from reconciler.printing import Form, show_outcome
from reconciler.settings import Settings
from reconciler.terminal import (
    FAILURE,
    ROLE,
    WRONG,
    Json,
    explained,
    fail,
    moment_option,
    settings_of,
)
from runtime.exits import exit_after
from runtime.rows import json_text

app = typer.Typer(
    name="reconciler",
    help="Finds calls of LiteLLM's spend log that have no receipt, and posts them to the gateway.",
    epilog="Settings come from the environment: docs/configuration.md lists them all. "
    "Exit codes: 0 fine, 1 a failure or an audit that does not balance, 2 wrong usage or "
    "configuration.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def reconciler() -> None:
    """Finds calls of LiteLLM's spend log that have no receipt."""


@app.command()
def run() -> None:
    """Compare again and again until SIGTERM; of several instances one is active.

    /livez, /readyz and /metrics are on RECONCILER_METRICS_HOST:RECONCILER_METRICS_PORT
    (127.0.0.1:9095). While the proxy, the gateway or PostgreSQL is away, the cursor stands still.
    """
    settings = settings_of(posts=True)
    try:
        service.run(settings)
    except LedgerError as error:
        fail(advice(error, settings.reconciler_database_role, ROLE))
    except OSError as error:
        fail(
            f"probes on port {settings.reconciler_metrics_port}: {error}. Set "
            "RECONCILER_METRICS_PORT to a free port"
        )


@app.command()
def once(
    since: Annotated[
        datetime | None, moment_option("--from", "Calls that began then or later")
    ] = None,
    until: Annotated[datetime | None, moment_option("--to", "Calls that began before")] = None,
    as_json: Json = False,
) -> None:
    """Make one pass, and say what it has found.

    Without --from and --to: from the cursor, which moves. With both: this time, and the cursor
    stays; for rows that LiteLLM has written much too late.
    """
    settings = settings_of(posts=True)
    if (since is None) is not (until is None) or (since and until and until <= since):
        fail("--from and --to name a time together, with a length", WRONG)
    with explained(settings.reconciler_database_role), _lock(settings) as lock:
        if since is None and not lock.acquire():
            fail("another instance is active: it compares already")
        held = lock.check if since is None else _nothing
        with parts(settings, wait=sleep, held=held) as made:
            outcome = made.passes.of(since, until) if since and until else made.passes.make()
    show_outcome(outcome, Form.JSON if as_json else Form.TABLE)


@app.command()
def run_completed(
    name: Annotated[str, typer.Argument(metavar="RUN", help="run/attempt, as `end_user` says it.")],
    hours: Annotated[
        float, typer.Option(min=0.01, help="How far back its calls may have begun.")
    ] = 24,
    seconds: Annotated[float, typer.Option(min=0, help="How long to wait for receipts.")] = 60,
    as_json: Json = False,
) -> None:
    """Look for the calls of a run that has just ended, and post those that are lost at once.

    Its calls are those whose `end_user` is RUN. Exit code 1: some have no answer in time.
    """
    settings = settings_of(posts=True)
    run_ = named(name)
    if run_ is None:
        fail(f"RUN is run/attempt such as run-7/0, not {name!r}", WRONG)
    with explained(settings.reconciler_database_role), parts(settings, wait=sleep) as made:
        found = complete(made, run_, timedelta(hours=hours), seconds, sleep)
    if as_json:
        typer.echo(json_text(msgspec.structs.asdict(found)))
    else:
        late = (
            ""
            if found.latency_seconds is None
            else (f", the last one {found.latency_seconds:.1f} s after the end of its last call")
        )
        typer.echo(
            f"{name}: {found.rows} rows, {found.reposted} lost calls posted, {found.receipts} "
            f"receipts{late}; {found.unanswered} rows and {len(found.units)} usage units have no "
            "answer"
        )
    if not found.whole:
        sys.exit(FAILURE)


app.command(epilog=EXAMPLES)(audit)


def _nothing() -> None:
    pass


@contextmanager
def _lock(settings: Settings) -> Iterator[ReconcilerLock]:
    lock = ReconcilerLock(settings.database_url.get_secret_value(), settings.source_system)
    try:
        yield lock
    finally:
        lock.release()


if __name__ == "__main__":
    exit_after(partial(app, prog_name="python -m reconciler"))
