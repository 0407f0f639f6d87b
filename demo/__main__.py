"""`python -m demo`: the embedded stack, and the demo with a real LiteLLM proxy as the caller."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from demo import chosen, control, own
from demo.process import StackError
from demo.settings import StackSettings
from demo.state import AlreadyRunningError, RunDirectory, UnusableDirectoryError

_PLAIN_WIDTH = 112

app = typer.Typer(
    help=(
        "Start the whole billing stream on this machine: an embedded Kafka, an embedded "
        "PostgreSQL, the gateway, the consumer and the spend guard. KAFKA_BOOTSTRAP_SERVERS or "
        "DATABASE_URL in the environment replace the embedded parts; BILLING_*, GATEWAY_*, "
        "CONSUMER_* and SPEND_GUARD_* reach the processes. Exit codes: 0 fine, 1 it did not work "
        "and the text says why, 2 wrong usage."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Directory = Annotated[
    Path,
    typer.Option(help="Run directory: environment file, logs, state, embedded data."),
]
WithLiteLLM = Annotated[
    bool,
    typer.Option("--litellm", help="Also start a LiteLLM proxy and a loopback provider for it."),
]
DEFAULT_DIRECTORY = Path(".run")


@app.command()
def up(directory: Directory = DEFAULT_DIRECTORY, *, litellm: WithLiteLLM = False) -> None:
    """Start the stack in the background; return when it is ready.

    Leaves the addresses, the tokens and the database URL in `env` in the run directory, one
    KEY=value a line. A second `up` finds the stack running and returns 0.
    """
    run_directory, console = RunDirectory(directory), _console()
    _tell_left(console, own.disown(os.environ, run_directory.remembered()))
    started = control.start(run_directory, console, litellm=litellm)
    words = "ready" if started else "already running"
    console.print(f"{words}: {run_directory.environment_file}", soft_wrap=True)


@app.command()
def down(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Stop the stack: rooms, broker, database. Deletes embedded data, keeps logs.

    Callbacks that wait in the gateway's spool, because Kafka was away, are kept for the next `up`.
    """
    run_directory, console = RunDirectory(directory), _console()
    stopped = control.stop(run_directory, console)
    what = "stopped; embedded data deleted, logs kept" if stopped else "nothing runs"
    console.print(f"{what} in {run_directory.path}", soft_wrap=True)


@app.command()
def status(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Say what runs, with process ids and addresses; exit 1 when not everything does."""
    if not control.describe(RunDirectory(directory), _console()):
        raise typer.Exit(1)


@app.command()
def run(
    directory: Directory = Path(".run") / "demo",
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running.")] = False,
) -> None:
    """Start everything with a real LiteLLM proxy, make calls of each kind, show the receipts.

    Checks what it shows: the exit code is 0 only when every promise holds. Beside a running stack
    it takes no address and no port from the environment. On a Kafka of yours its topics and its
    group begin with `demo.`. It goes without settings with which it could not show what it says,
    such as BILLING_ACCOUNT_FROM, and names them.
    """
    from demo import tour

    run_directory, console = RunDirectory(directory), _console()
    started = time.monotonic()
    _tell_left(console, own.disown(os.environ, run_directory.remembered()))
    for other in run_directory.relatives():
        if other.is_held() and (names := own.stand_apart(os.environ)):
            why = f"a stack runs in {other.path}, which the demo leaves alone"
            console.print(
                f"not taken from the environment: {', '.join(names)}: {why}", soft_wrap=True
            )
    for sentence in chosen.leave(os.environ):
        console.print(Text(sentence), soft_wrap=True)
    if not tour.demonstrate(run_directory, console, keep=keep):
        raise typer.Exit(1)
    console.print(f"\ndone in {time.monotonic() - started:.0f} seconds")


@app.command(hidden=True)
def supervise(
    directory: Directory = DEFAULT_DIRECTORY,
    *,
    litellm: WithLiteLLM = False,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="Stop when the starting process ends.")
    ] = False,
) -> None:
    """Hold the stack in the foreground; `up` starts this."""
    from demo.stack import compose
    from demo.supervisor import Supervisor

    run_directory = RunDirectory(directory)
    run_directory.create()
    settings = StackSettings()
    supervisor = Supervisor(
        run_directory,
        lambda: compose(settings, run_directory, litellm=litellm),
        with_parent=with_parent,
    )
    raise typer.Exit(supervisor.run())


def main() -> None:
    """Run the command line; turn expected faults into a sentence and an exit code."""
    try:
        app(prog_name="python -m demo")
    except ValidationError as error:
        fields = (f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        _fail(f"wrong configuration: {'; '.join(fields)}", 2)
    except (StackError, AlreadyRunningError, UnusableDirectoryError) as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"the system refuses: {error}", 1)


def _fail(words: str, code: int) -> None:
    Console(stderr=True).print(Text(words, style="red"), soft_wrap=True)
    sys.exit(code)


def _tell_left(console: Console, names: list[str]) -> None:
    if names:
        console.print(
            f"not taken from the environment: {', '.join(names)}: left there by the `env` file of "
            "a stack, not chosen by you",
            soft_wrap=True,
        )


def _console() -> Console:
    """Return a console that keeps tables whole where there is no terminal to measure."""
    console = Console()
    return console if console.is_terminal else Console(width=_PLAIN_WIDTH)


if __name__ == "__main__":
    main()
