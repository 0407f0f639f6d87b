"""The process that holds a stack: starts it in order, watches it, and stops it in order."""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import psutil

from demo import own, spool
from demo.process import Child, Service, StackError
from demo.stack import Stack
from demo.state import RunDirectory, ServicePhase, ServiceState, StackPhase, StackState

_TURN_SECONDS = 0.05
_KILL_SECONDS = 10
_UP = ("ready", "done")


class _StopRequested(Exception):  # noqa: N818 - a request, not a fault
    """A signal, or the end of the parent, asks the stack to stop."""


class Supervisor:
    """Runs one stack in one run directory until it is asked to stop.

    Servers and jobs start as soon as what they need is there; they stop in the reverse of the
    order in which the stack lists them. Whatever happens, no child outlives the supervisor.
    """

    def __init__(
        self, directory: RunDirectory, compose: Callable[[], Stack], *, with_parent: bool
    ) -> None:
        """Hold what is needed to run.

        Args:
            directory: where state, logs and the environment file go.
            compose: makes the stack; called once the directory is held.
            with_parent: stop when the process that started this one has ended.
        """
        self._directory = directory
        self._compose = compose
        self._parent = os.getppid() if with_parent else None
        self._state = StackState(phase="starting", pid=os.getpid())
        self._children: dict[str, Child] = {}
        self._stop_asked = False

    def run(self) -> int:
        """Run the stack to its end.

        Returns:
            0 after a stop that was asked for, 1 when the stack did not come up.

        Raises:
            AlreadyRunningError: when another supervisor holds the directory.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        with self._directory.hold():
            clear_leftovers(self._directory)
            outcome: StackPhase = "failed"
            try:
                self._bring_up()
                self._watch()
            except _StopRequested:
                outcome = "stopped"
            except (StackError, OSError) as error:
                self._state.message = str(error)
            finally:
                self._stop()
                clear_leftovers(self._directory)
                self._enter(outcome)
        if outcome == "failed":
            sys.stderr.write(f"{self._state.message}\n")
            return 1
        return 0

    def _bring_up(self) -> None:
        self._write()
        stack = self._compose()
        database = stack.database
        self._state.scratch = [str(database.directory)] if database else []
        self._state.services = [
            ServiceState(name=service.name, address=service.address, log=f"{service.name}.log")
            for service in stack.services
        ]
        self._write()
        if database:
            database.prepare()
        while any(row.phase not in _UP for row in self._state.services):
            self._start_what_can(stack)
            self._advance()
            self._turn()
        self._directory.remember(stack.environment.get(own.MARK, ""))
        self._directory.write_environment(stack.environment)
        self._enter("ready")

    def _start_what_can(self, stack: Stack) -> None:
        up = {row.name for row in self._state.services if row.phase in _UP}
        for service, row in zip(stack.services, self._state.services, strict=True):
            if row.phase == "waiting" and service.needs <= up:
                self._start(row, service)

    def _start(self, row: ServiceState, service: Service) -> None:
        child = Child(service, self._directory.logs / row.log)
        self._children[row.name] = child
        row.pid, row.born = child.pid, psutil.Process(child.pid).create_time()
        self._mark(row, "starting")

    def _advance(self) -> None:
        """Move on every started process that is ready; fail on one that ended or is late."""
        for row in self._state.services:
            child = self._children.get(row.name)
            if child is None or row.phase == "done":
                continue
            service, code = child.service, child.exit_code()
            if code is not None:
                row.exit_code = code
                if service.ready is not None or code != 0:
                    self._mark(row, "failed")
                    raise StackError(self._explain(row, f"ended with exit code {code}"))
                self._mark(row, "done", child.seconds())
            elif row.phase == "starting" and child.is_ready():
                self._mark(row, "ready", child.seconds())
            elif row.phase == "starting" and child.seconds() > service.deadline_seconds:
                limit = f"{service.deadline_seconds:g} seconds"
                raise StackError(self._explain(row, f"was not ready after {limit}"))

    def _watch(self) -> None:
        """Stay until asked to stop; say which process has ended meanwhile."""
        while True:
            for row in self._state.services:
                child = self._children[row.name]
                code = child.exit_code()
                if row.phase in ("starting", "ready") and code is not None:
                    self._ended(row, child.service, code)
                elif row.phase == "starting" and child.is_ready():
                    self._mark(row, "ready", child.seconds())
            self._turn()

    def _ended(self, row: ServiceState, service: Service, code: int) -> None:
        if service.restarts and code < 0 and row.phase == "ready":
            row.restarts += 1
            self._start(row, service)
            return
        row.exit_code = code
        self._state.phase = "degraded"
        self._state.message = self._explain(row, f"ended with exit code {code}")
        self._mark(row, "failed")

    def _stop(self) -> None:
        self._directory.environment_file.unlink(missing_ok=True)
        self._enter("stopping")
        for row in reversed(self._state.services):
            child = self._children.get(row.name)
            if child is None or row.phase not in ("starting", "ready"):
                continue
            started = time.monotonic()
            self._mark(row, "stopping")
            clean = child.stop()
            row.exit_code = child.exit_code()
            self._mark(row, "stopped" if clean else "killed", time.monotonic() - started)

    def _turn(self) -> None:
        orphaned = self._parent is not None and os.getppid() != self._parent
        if self._stop_asked or orphaned:
            raise _StopRequested
        time.sleep(_TURN_SECONDS)

    def _ask_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_asked = True

    def _mark(self, row: ServiceState, phase: ServicePhase, seconds: float | None = None) -> None:
        row.phase, row.seconds = phase, seconds
        self._write()

    def _enter(self, phase: StackPhase) -> None:
        self._state.phase = phase
        self._write()

    def _write(self) -> None:
        self._directory.write_state(self._state)

    def _explain(self, row: ServiceState, what: str) -> str:
        path = self._directory.logs / row.log
        return f"{row.name} {what}. The end of {path}:\n{self._directory.tail(row.name)}"


def clear_leftovers(directory: RunDirectory) -> list[str]:
    """End what a dead supervisor left behind and delete the embedded data; needs the lock.

    Callbacks that wait in the gateway's spool have been answered 202: they are kept.

    Returns:
        The names of the processes that were still there.
    """
    state = directory.read_state()
    rows = state.services if state else []
    names = [row.name for row in rows if _end(row)]
    directory.environment_file.unlink(missing_ok=True)
    for path in (directory.data, *(Path(text) for text in (state.scratch if state else ()))):
        shutil.rmtree(path, ignore_errors=True)
    spool.remove(directory.spool)
    return names


def _end(row: ServiceState) -> bool:
    """Kill the recorded process and its descendants; False when it had ended by itself."""
    if row.pid is None or row.born is None:
        return False
    try:
        process = psutil.Process(row.pid)
        if process.create_time() != row.born or process.status() == psutil.STATUS_ZOMBIE:
            return False
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return False
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=_KILL_SECONDS)
    return True
