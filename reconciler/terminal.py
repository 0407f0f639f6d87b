"""What the reconciler's commands share: how they read moments and settings, and how they fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Final, NoReturn

import typer

from ledger.healing import LedgerError, advice
from reconciler.answers import SpendLogError
from reconciler.gateway import GatewayError
from reconciler.settings import Books, Settings, load, load_books
from runtime.environment import ConfigurationError
from runtime.logs import configure
from runtime.moments import RULE, moment_of

FAILURE: Final = 1
WRONG: Final = 2
ROLE: Final = "RECONCILER_DATABASE_ROLE"

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV instead.")]


def moment_option(name: str, says: str) -> Any:  # noqa: ANN401 - what an annotation takes
    """Return an option that takes a moment; its help is what `says` says, and the rule."""
    return typer.Option(name, parser=_moment, metavar="DAY|TIME", help=f"{says}; {RULE}.")


def _moment(text: str) -> datetime:
    try:
        return moment_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def settings_of(*, posts: bool) -> Settings:
    """Read the settings and set logging up; ends with 2 where the environment is wrong."""
    try:
        found = load()
    except ConfigurationError as error:
        fail(f"wrong configuration; see docs/configuration.md\n{error}", WRONG)
    if posts and not found.gateway_url:
        fail("GATEWAY_URL must be set: lost calls are posted there", WRONG)
    if posts and not found.token:
        source = found.reconciler_source
        where = (
            f"BILLING_INGEST_TOKENS has no {source}=token"
            if source
            else ("BILLING_INGEST_TOKEN must be set")
        )
        fail(f"{where}: lost calls are posted under the proxy's own token", WRONG)
    configure(found.reconciler_log_level)
    return found


def books() -> Books:
    """Read where the ledger is; ends with 2 where the environment is wrong."""
    try:
        return load_books()
    except ConfigurationError as error:
        fail(f"wrong configuration; see docs/configuration.md\n{error}", WRONG)


@contextmanager
def explained(role: str, code: int = FAILURE) -> Iterator[None]:
    """Turn what can fail into a message and an exit code."""
    try:
        yield
    except (SpendLogError, GatewayError) as error:
        fail(str(error), code)
    except LedgerError as error:
        fail(advice(error, role, ROLE), code)


def fail(message: str, code: int = FAILURE) -> NoReturn:
    """Say what is wrong and end."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(code)
