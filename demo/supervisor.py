"""The process that holds a stack: starts it in order, watches it, and stops it in order."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from types import FrameType

import psutil

from demo import leftovers, own
from demo.process import Child, Service, StackError
from demo.stack import Stack
from demo.state import (
    RunDirectory,
    ServicePhase,
    ServiceState,
    StackPhase,
    StackState,
    how_ended,
)

_TURN_SECONDS = 0.05
_MIND_SECONDS = 1.0
_SHORT_LIFE_SECONDS = 10
_MOST_SHORT_LIVES = 10
_UP = ("ready", "done")


class _StopRequested(Exception):  # noqa: N818 - a request, not a fault
    """A signal, or the end of the parent, asks the stack to stop."""


class Supervisor:
    """Runs one stack in one run directory until it is asked to stop.

    Servers and jobs start as soon as what they need is there; they stop in the reverse of the
    order in which the stack lists them. Whatever happens, no child outlives the supervisor. A
    server that is killed, or ends because what it needs was away, is begun again as soon as that
    is there, and its death told, in its row and in the supervisor's log;
    the stack is degraded from the end of one that ends by itself until SIGUSR1 asks to begin it
    again.
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
        self._short_lives = Counter[str]()
        self._stop_asked = False
        self._start_asked = False

    def run(self) -> int:
        """Run the stack to its end.

        Returns:
            0 after a stop that was asked for, 1 when the stack did not come up.

        Raises:
            AlreadyRunningError: when another supervisor holds the directory.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        signal.signal(signal.SIGUSR1, self._ask_to_start)
        with self._directory.hold():
            leftovers.clear(self._directory)
            outcome: StackPhase = "failed"
            try:
                stack = self._bring_up()
                self._watch(stack)
            except _StopRequested:
                outcome = "stopped"
            except (StackError, OSError) as error:
                self._state.message = str(error)
            finally:
                self._stop()
                leftovers.clear(self._directory)
                self._enter(outcome)
        if outcome == "failed":
            sys.stderr.write(f"{self._state.message}\n")
            return 1
        return 0

    def _bring_up(self) -> Stack:
        self._write()
        stack = self._compose()
        database = stack.database
        self._state.scratch = [str(database.directory)] if database else []
        self._state.ledger = database is not None
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
        return stack

    def _start_what_can(self, stack: Stack) -> None:
        up = {row.name for row in self._state.services if row.phase in _UP}
        for service, row in zip(stack.services, self._state.services, strict=True):
            if row.phase == "waiting" and stack.needed(service.name) <= up:
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
            code = child.exit_code()
            if code is not None:
                row.exit_code = code
                if child.service.ready is not None or code != 0:
                    self._mark(row, "failed")
                    raise StackError(self._explain(row, how_ended(code)))
                self._mark(row, "done", child.seconds())
            elif row.phase == "starting":
                self._advance_start(row, child)

    def _advance_start(self, row: ServiceState, child: Child) -> None:
        limit = child.service.deadline_seconds
        if child.is_ready():
            self._mark(row, "ready", child.seconds())
        elif child.seconds() > limit:
            raise StackError(self._explain(row, f"was not ready after {limit:g} seconds"))

    def _watch(self, stack: Stack) -> None:
        """Stay until asked to stop; tell what ends meanwhile, and begin it again."""
        minded, groups = time.monotonic(), stack.groups
        while True:
            if self._start_asked:
                self._begin_ended_again()
            self._start_what_can(stack)
            for row in self._state.services:
                child = self._children[row.name]
                code = child.exit_code()
                if row.phase in ("starting", "ready") and code is not None:
                    self._ended(row, child, code, excused=self._lacked(stack, child))
                elif row.phase == "starting":
                    self._follow_start(row, child)
            if groups and time.monotonic() - minded > _MIND_SECONDS:
                minded = time.monotonic()
                for sentence in groups.mind(minded):
                    _log(sentence)
            self._turn()

    def _follow_start(self, row: ServiceState, child: Child) -> None:
        """Follow the start of one that was begun again; it never ends the stack."""
        try:
            self._advance_start(row, child)
        except StackError as late:
            child.stop()
            row.exit_code = child.exit_code()
            self._degrade(row, str(late))
        phases = {other.phase for other in self._state.services}
        if phases <= {*_UP}:
            self._state.message = ""
            self._enter("ready")

    def _lacked(self, stack: Stack, child: Child) -> bool:
        """Whether something that it needs has been away since it was started."""
        needed = stack.needed(child.service.name)
        return any(
            row.phase not in _UP or self._children[row.name].seconds() < child.seconds()
            for row in self._state.services
            if row.name in needed
        )

    def _ended(self, row: ServiceState, child: Child, code: int, *, excused: bool) -> None:
        row.exit_code = code
        told = self._explain(row, how_ended(code))
        _log(told)
        short = child.seconds() < _SHORT_LIFE_SECONDS
        self._short_lives[row.name] = self._short_lives[row.name] + 1 if short else 0
        often = self._short_lives[row.name] > _MOST_SHORT_LIVES
        if child.service.restarts and (code < 0 or excused) and not often:
            row.restarts += 1
            self._begin_again(row, child.service)
        else:
            self._degrade(row, told)

    def _begin_again(self, row: ServiceState, service: Service) -> None:
        if service.on_death:
            service.on_death()
        # As soon as what it needs is there: that may have been killed at the same moment.
        self._mark(row, "waiting")
        if self._state.phase == "ready":
            self._enter("starting")

    def _begin_ended_again(self) -> None:
        self._start_asked = False
        self._state.attempts += 1
        for row in self._state.services:
            service = self._children[row.name].service
            if row.phase == "failed" and service.restarts:
                self._short_lives[row.name] = 0
                self._begin_again(row, service)
        if all(row.phase != "failed" for row in self._state.services):
            self._state.phase = "starting"
        self._write()

    def _degrade(self, row: ServiceState, message: str) -> None:
        self._state.phase = "degraded"
        self._state.message = message
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

    def _ask_to_start(self, _number: int, _frame: FrameType | None) -> None:
        self._start_asked = True

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


def _log(text: str) -> None:
    """Write to the supervisor's log."""
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    sys.stderr.write(f"{moment} {text}\n")
    sys.stderr.flush()
