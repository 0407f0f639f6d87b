"""The command line: `python -m reconciler`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from time import sleep
from typing import Annotated, Any, Final, NoReturn

import msgspec
import typer

from ledger.healing import LedgerError, advice
from ledger.reconciler_lock import ReconcilerLock
from reconciler import service
from reconciler.answers import SpendLogError
from reconciler.completed import complete, named
from reconciler.gateway import GatewayError
from reconciler.parts import parts
from reconciler.printing import CALLS, LINES, Form, show_audit, show_outcome
from reconciler.settings import Settings, load
from runtime.environment import ConfigurationError
from runtime.exits import exit_after
from runtime.logs import configure
from runtime.moments import RULE, moment_of
from runtime.rows import json_text

_FAILURE: Final = 1
_WRONG: Final = 2
_ROLE: Final = "RECONCILER_DATABASE_ROLE"

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

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV instead.")]


def _moment(text: str) -> datetime:
    try:
        return moment_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _option(name: str, says: str) -> Any:  # noqa: ANN401 - what an annotation takes
    return typer.Option(name, parser=_moment, metavar="DAY|TIME", help=f"{says}; {RULE}.")


@app.callback()
def reconciler() -> None:
    """Finds calls of LiteLLM's spend log that have no receipt."""


@app.command()
def run() -> None:
    """Compare again and again until SIGTERM; of several instances one is active.

    /livez, /readyz and /metrics are on RECONCILER_METRICS_HOST:RECONCILER_METRICS_PORT
    (127.0.0.1:9095). While the proxy, the gateway or PostgreSQL is away, the cursor stands still.
    """
    settings = _settings(posts=True)
    try:
        service.run(settings)
    except LedgerError as error:
        _fail(advice(error, settings.reconciler_database_role, _ROLE))
    except OSError as error:
        _fail(
            f"probes on port {settings.reconciler_metrics_port}: {error}. Set "
            "RECONCILER_METRICS_PORT to a free port"
        )


@app.command()
def once(
    since: Annotated[datetime | None, _option("--from", "Calls that began then or later")] = None,
    until: Annotated[datetime | None, _option("--to", "Calls that began before")] = None,
    as_json: Json = False,
) -> None:
    """Make one pass, and say what it has found.

    Without --from and --to: from the cursor, which moves. With both: this time, and the cursor
    stays; for rows that LiteLLM has written much too late.
    """
    settings = _settings(posts=True)
    if (since is None) is not (until is None) or (since and until and until <= since):
        _fail("--from and --to name a time together, with a length", _WRONG)
    with _explained(settings), _lock(settings) as lock:
        if since is None and not lock.acquire():
            _fail("another instance is active: it compares already")
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
    settings = _settings(posts=True)
    run_ = named(name)
    if run_ is None:
        _fail(f"RUN is run/attempt such as run-7/0, not {name!r}", _WRONG)
    with _explained(settings), parts(settings, wait=sleep) as made:
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
        sys.exit(_FAILURE)


@app.command(
    epilog="\b\nExamples:\n  billing audit --from 2026-11-01 --to 2026-12-01\n"
    "  billing audit --from 2026-11-01 --to 2026-12-01 --csv --table calls > calls.csv"
)
def audit(
    *,
    since: Annotated[datetime, _option("--from", "Calls that began then or later")],
    until: Annotated[
        datetime, _option("--to", "Calls that began before: `2026-12-01` includes November")
    ],
    limit: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Most calls that are listed.")
    ] = 10_000,
    table: Annotated[str, typer.Option(help=f"What --csv prints: {LINES} or {CALLS}.")] = LINES,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Show that LiteLLM's log rows = receipts + deferred + skipped + dead letters + missing.

    To the call id, and in money. Changes nothing. Exit code 1: it does not balance.
    """
    if as_json and as_csv:
        _fail("--json and --csv are two forms: choose one", _WRONG)
    if table not in {LINES, CALLS}:
        _fail(f"--table is {LINES} or {CALLS}", _WRONG)
    if until <= since:
        _fail("the time ends before it begins: nothing is in it", _WRONG)
    settings = _settings(posts=False)
    with _explained(settings), parts(settings, wait=sleep) as made:
        found = made.auditor.audit(since, until, limit)
    form = Form.JSON if as_json else Form.CSV if as_csv else Form.TABLE
    period = {"from": since, "to": until, "source": settings.source_system}
    show_audit(found, period, form, table)
    if not found.balanced:
        sys.exit(_FAILURE)


def _nothing() -> None:
    pass


@contextmanager
def _lock(settings: Settings) -> Iterator[ReconcilerLock]:
    lock = ReconcilerLock(settings.database_url.get_secret_value(), settings.source_system)
    try:
        yield lock
    finally:
        lock.release()


def _settings(*, posts: bool) -> Settings:
    try:
        found = load()
    except ConfigurationError as error:
        _fail(f"wrong configuration; see docs/configuration.md\n{error}", _WRONG)
    if posts and not found.gateway_url:
        _fail("GATEWAY_URL must be set: lost calls are posted there", _WRONG)
    if posts and not found.token:
        source = found.reconciler_source
        where = (
            f"BILLING_INGEST_TOKENS has no {source}=token"
            if source
            else ("BILLING_INGEST_TOKEN must be set")
        )
        _fail(f"{where}: lost calls are posted under the proxy's own token", _WRONG)
    configure(found.reconciler_log_level)
    return found


@contextmanager
def _explained(settings: Settings) -> Iterator[None]:
    """Turn what can fail into a message and exit code 1."""
    try:
        yield
    except (SpendLogError, GatewayError) as error:
        _fail(str(error))
    except LedgerError as error:
        _fail(advice(error, settings.reconciler_database_role, _ROLE))


def _fail(message: str, code: int = _FAILURE) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    exit_after(partial(app, prog_name="python -m reconciler"))
