"""What a person's command does to a stack: start it, stop it, tell about it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import psutil
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from demo import leftovers, spool
from demo.process import StackError, inherited
from demo.settings import ROOT, StackSettings
from demo.state import AlreadyRunningError, RunDirectory, ServiceState, StackState

_TURN_SECONDS = 0.1
_START_SECONDS = 1200  # installing the LiteLLM proxy may have to download it
_STOP_SECONDS = 180
_KILL_SECONDS = 10
_ANSWER_SECONDS = 10
_SECRETS = (
    *("BILLING_INGEST_TOKEN", "SPEND_GUARD_ADMIN_TOKENS", "SPEND_GUARD_TOKENS"),
    *("DATABASE_URL", "LITELLM_MASTER_KEY"),
)


def start(
    directory: RunDirectory,
    console: Console,
    *,
    litellm: bool,
    with_parent: bool = False,
    environment: Mapping[str, str] | None = None,
) -> bool:
    """Start a stack in `directory` and return when it is ready.

    Args:
        directory: the run directory; made when it is missing.
        console: where the progress goes.
        litellm: also a LiteLLM proxy and its loopback provider.
        with_parent: end the stack when this process ends, whatever way.
        environment: what reaches the stack on top of this process's environment.

    Returns:
        False when a stack was already running there. What had ended in it is begun again, with
        the settings that the stack has.

    Raises:
        ValidationError: when a setting in the environment is wrong.
        StackError: when it did not come up, everything stopped; or when the running stack lacks
            the LiteLLM proxy that is asked for, or one of its processes.
    """
    StackSettings()  # a wrong value is told here, not in a log
    directory.create()
    if directory.is_held():
        _begin_ended_again(directory)
        _follow_start(directory, console, None)
        _check_running(directory, litellm=litellm)
        return False
    if leftovers.holds_ledger(directory):
        console.print(
            f"deleting the embedded ledger of a stack in {directory.path} that ended without "
            "`make down`: its broker had its records in memory",
            soft_wrap=True,
        )
    options = [*(["--litellm"] if litellm else []), *(["--with-parent"] if with_parent else [])]
    supervisor = _supervise(directory, options, environment or {})
    try:
        _follow_start(directory, console, supervisor)
    except BaseException:
        if supervisor.poll() is None:
            console.print("stopping what was started")
            supervisor.terminate()
        supervisor.wait(_STOP_SECONDS)
        raise
    return True


def _supervise(
    directory: RunDirectory, options: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    for old in directory.logs.glob("*.log"):
        old.unlink()
    with (directory.logs / "supervisor.log").open("ab") as output:
        return subprocess.Popen(
            (sys.executable, "-m", "demo", "supervise", "--directory", directory.path, *options),
            cwd=ROOT,
            env={**inherited(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(directory: RunDirectory, console: Console) -> bool:
    """Stop the stack in `directory`, bounded in time, and delete its embedded data.

    Says what is kept because it waits in the gateway's spool, also when nothing was running.

    Returns:
        False when nothing was running there.

    Raises:
        StackError: when the supervisor did not end in time and was killed with its processes.
    """
    if not directory.path.exists() or not directory.is_held():
        left = _clear(directory, console)
        _tell_kept(directory, console)
        return left
    state = _current(directory)
    os.kill(state.pid, signal.SIGTERM)
    told: set[str] = set()
    deadline = time.monotonic() + _STOP_SECONDS
    with console.status("stopping") as status:
        while directory.is_held():
            _tell_stops(directory.read_state(), told, console, status)
            if time.monotonic() > deadline:
                _kill(state.pid)
                _clear(directory, console)
                raise StackError(f"the stack did not stop in {_STOP_SECONDS} seconds: killed")
            time.sleep(_TURN_SECONDS)
        _tell_stops(directory.read_state(), told, console, status)
        _await_end(state.pid)
    _tell_kept(directory, console)
    return True


def _tell_kept(directory: RunDirectory, console: Console) -> None:
    if kept := spool.waiting(directory.spool):
        console.print(
            f"kept: {kept} in {directory.spool}: answered 202, not yet in Kafka. The next start "
            "brings them there; delete the directory if they should never be billed",
            soft_wrap=True,
        )


def _await_end(pid: int) -> None:
    """Wait for a supervisor that has given the directory back and has only to leave."""
    try:
        psutil.Process(pid).wait(_KILL_SECONDS)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired as late:
        raise StackError(
            f"the supervisor {pid} did not end: kill it with `kill -9 {pid}`"
        ) from late


def describe(directory: RunDirectory, console: Console) -> bool:
    """Print what runs in `directory`: processes, addresses, environment.

    Returns:
        False when nothing runs there, or not everything that should.
    """
    if not directory.path.exists() or not directory.is_held():
        console.print(f"nothing runs in {directory.path}", soft_wrap=True)
        return False
    state = _current(directory)
    table = Table("process", "state", "pid", "address", "log", box=None, pad_edge=False)
    for row in state.services:
        if row.phase != "done":
            log = str(directory.logs / row.log)
            phase = f"{row.phase}, restarted {row.restarts} times" if row.restarts else row.phase
            table.add_row(row.name, phase, str(row.pid or ""), row.address, log)
    console.print(f"stack: {state.phase}, supervisor pid {state.pid}")
    console.print(table)
    for key, value in directory.read_environment().items():
        shown = f"in {directory.environment_file}" if key in _SECRETS else value
        console.print(Text(f"{key}  {shown}"), soft_wrap=True)
    for row in state.services:
        if row.restarts:
            last = f"{row.name} last ended with exit code {row.exit_code} and was begun again"
            where = directory.logs / "supervisor.log"
            console.print(f"{last}: {where} has its last words", soft_wrap=True)
    if state.message:
        console.print(Text(state.message), soft_wrap=True)
    return state.phase == "ready"


def _follow_start(
    directory: RunDirectory, console: Console, supervisor: subprocess.Popen[bytes] | None
) -> None:
    """Tell what becomes ready until everything is."""
    told: set[str] = set()
    deadline = time.monotonic() + _START_SECONDS
    with console.status("starting") as status:
        while time.monotonic() < deadline:
            ended = not directory.is_held() if supervisor is None else supervisor.poll() is not None
            if ended and supervisor and directory.is_held():
                supervisor = None  # another `up` was first: follow its stack
                continue
            state = directory.read_state()
            if state and supervisor and state.pid != supervisor.pid:
                state = None  # of an earlier stack
            if state and not ended:
                _tell_starts(state, told, console, status)
                if state.phase in ("ready", "degraded"):
                    return
            if ended:
                raise StackError(_why_ended(directory, state))
            time.sleep(_TURN_SECONDS)
    raise StackError(f"the stack was not ready after {_START_SECONDS} seconds")


def _begin_ended_again(directory: RunDirectory) -> None:
    """Have the supervisor of a degraded stack begin again what has ended."""
    state = directory.read_state()
    if state is None or state.phase != "degraded":
        return
    os.kill(state.pid, signal.SIGUSR1)
    deadline = time.monotonic() + _ANSWER_SECONDS
    while _current(directory).attempts == state.attempts and time.monotonic() < deadline:
        time.sleep(_TURN_SECONDS)


def _check_running(directory: RunDirectory, *, litellm: bool) -> None:
    state = _current(directory)
    if state.phase != "ready":
        raise StackError(f"a stack runs in {directory.path} but {state.message}\n{_advice(state)}")
    if litellm and not any(row.name == "litellm" for row in state.services):
        raise StackError(f"the stack in {directory.path} runs without LiteLLM. {_advice(state)}")


def _advice(state: StackState) -> str:
    """Say how to begin anew, and what that deletes."""
    lost = (
        "deletes its embedded ledger with every receipt" if state.ledger else "keeps its database"
    )
    return f"`make down` stops it and {lost}; then `make up` begins anew"


def _why_ended(directory: RunDirectory, state: StackState | None) -> str:
    if state and state.phase == "failed":
        return state.message
    words = directory.tail("supervisor")
    return f"the supervisor ended. The end of {directory.logs / 'supervisor.log'}:\n{words}"


def _tell_starts(state: StackState, told: set[str], console: Console, status: Status) -> None:
    for row in state.services:
        if row.phase in ("ready", "done") and row.name not in told:
            told.add(row.name)
            _tell(row, console)
    missing = [row.name for row in state.services if row.phase == "starting"]
    status.update(f"starting {', '.join(missing)}" if missing else "starting")


def _tell_stops(state: StackState | None, told: set[str], console: Console, status: Status) -> None:
    for row in reversed(state.services if state else []):
        if row.phase in ("stopped", "killed") and row.name not in told:
            told.add(row.name)
            _tell(row, console)
        if row.phase == "stopping":
            status.update(f"stopping {row.name}")


def _tell(row: ServiceState, console: Console) -> None:
    style = "red" if row.phase == "killed" else "green"
    line = Text.assemble(
        f"  {row.name:<16}", (f"{row.phase:<8}", style), f"{row.seconds or 0:6.1f} s  ", row.address
    )
    console.print(line, soft_wrap=True)


def _current(directory: RunDirectory) -> StackState:
    state = directory.read_state()
    if state is None:
        raise StackError(f"{directory.path} is held by a stack that is only just starting")
    return state


def _kill(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        process.kill()
        process.wait(_KILL_SECONDS)
    except psutil.NoSuchProcess:
        return


def _clear(directory: RunDirectory, console: Console) -> bool:
    """Remove what a killed supervisor could not."""
    if directory.path.exists():
        try:
            with directory.hold():
                names = leftovers.clear(directory)
        except AlreadyRunningError:
            return False
        if names:
            console.print(f"ended what was left behind: {', '.join(names)}")
            return True
    return False
