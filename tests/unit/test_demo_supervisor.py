"""A supervisor and the deaths of what it watches."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.process import Service
from demo.stack import Stack
from demo.state import RunDirectory, StackState
from demo.supervisor import Supervisor

DIES_THEN_ENDS_THE_STACK = """
import os, pathlib, signal, sys, time
life = pathlib.Path(sys.argv[1])
first = not life.exists()
life.touch()
if first:
    time.sleep(0.3)
    os.kill(os.getpid(), signal.Signals[sys.argv[2]])
    sys.exit(3)
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""
ENDS_THE_STACK_WHEN_DEGRADED = """
import os, pathlib, signal, sys, time
state = pathlib.Path(sys.argv[1])
while b"degraded" not in state.read_bytes():
    time.sleep(0.05)
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """The supervisor takes signals over; this gives them back."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    return directory


def server(
    directory: RunDirectory, code: str, *arguments: str, ready: Callable[[], bool], restarts: bool
) -> Service:
    return Service(
        name=f"server-{restarts}",
        command=(sys.executable, "-c", code, *arguments),
        environment=os.environ,
        directory=directory.path,
        ready=ready,
        restarts=restarts,
    )


def after(directory: RunDirectory, *services: Service) -> StackState:
    """The state that a run of these services leaves; one of them ends it."""
    stack = Stack(services=services, environment={}, database=None)
    assert Supervisor(directory, lambda: stack, with_parent=False).run() == 0
    state = directory.read_state()
    assert state
    return state


def test_a_crash_of_a_part_that_is_not_ours_is_begun_again(directory: RunDirectory) -> None:
    life = directory.path / "life"
    crashing = server(
        directory, DIES_THEN_ENDS_THE_STACK, str(life), "SIGSEGV", ready=life.exists, restarts=True
    )
    (row,) = after(directory, crashing).services
    assert (row.restarts, row.phase, row.exit_code) == (1, "stopped", -signal.SIGTERM)


def test_a_crash_of_ours_is_told_and_not_begun_again(directory: RunDirectory) -> None:
    life, state_file = directory.path / "life", directory.path / "state.json"
    crashing = server(
        directory, DIES_THEN_ENDS_THE_STACK, str(life), "SIGSEGV", ready=life.exists, restarts=False
    )
    watching = server(
        directory, ENDS_THE_STACK_WHEN_DEGRADED, str(state_file), ready=life.exists, restarts=True
    )
    state = after(directory, crashing, watching)
    assert (state.services[0].phase, state.services[0].restarts) == ("failed", 0)
    assert state.services[0].exit_code == -signal.SIGSEGV
    assert f"ended with exit code {-signal.SIGSEGV}" in state.message
