"""A supervisor and the deaths of what it watches."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from demo import supervisor
from demo.loopback import Ports
from demo.process import Service
from demo.stack import Stack
from demo.state import RunDirectory, StackState
from demo.supervisor import Supervisor
from tests.waiting import NET_SECONDS

BEGINNING = """
import json, os, pathlib, signal, sys, time
life = pathlib.Path(sys.argv[1])
def wait_until_ready():
    # Of the stack: who dies before fails to start.
    while json.loads((life.parent / "state.json").read_bytes())["phase"] != "ready":
        time.sleep(0.05)
"""
DIES_THEN_ENDS_THE_STACK = """
first = not life.exists()
life.touch()
if first:
    wait_until_ready()
    os.kill(os.getpid(), signal.Signals[sys.argv[2]])
    sys.exit(3)
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(600)
"""
DIES_AT_EVERY_START = """
if not life.exists():
    life.touch()
    wait_until_ready()
os.kill(os.getpid(), signal.Signals[sys.argv[2]])
"""
ENDS_THEN_ENDS_THE_STACK = """
first = not life.exists()
life.touch()
if first:
    wait_until_ready()
    sys.exit(int(sys.argv[2]))
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(600)
"""
ASKS_TO_BEGIN_AGAIN_WHEN_DEGRADED = """
while b"degraded" not in life.read_bytes():
    time.sleep(0.05)
os.kill(os.getppid(), signal.SIGUSR1)
time.sleep(600)
"""
ENDS_THE_STACK_WHEN_DEGRADED = """
while b"degraded" not in life.read_bytes():
    time.sleep(0.05)
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(600)
"""

NEEDED = """
there = pathlib.Path(sys.argv[2])
if not life.exists():
    there.touch()
    wait_until_ready()
    there.unlink()
    life.touch()
    os.kill(os.getpid(), signal.SIGKILL)
there.touch()
time.sleep(600)
"""
NEEDS = """
there = pathlib.Path(sys.argv[2])
if not life.exists():
    wait_until_ready()
    while not life.exists():
        time.sleep(0.01)
    sys.exit(1)
if not there.exists():
    sys.exit(2)
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """The supervisor takes signals over; this gives them back."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
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
    directory: RunDirectory,
    code: str,
    *arguments: str,
    ready: Callable[[], bool],
    restarts: bool,
    on_death: Callable[[], None] | None = None,
) -> Service:
    return Service(
        name=f"server-{restarts}",
        command=(sys.executable, "-c", BEGINNING + code, *arguments),
        environment=os.environ,
        directory=directory.path,
        ready=ready,
        restarts=restarts,
        on_death=on_death,
    )


def after(directory: RunDirectory, *services: Service) -> StackState:
    """The state that a run of these services leaves; one of them ends it."""
    stack = Stack(services=services, environment={}, database=None, ports=Ports())
    assert Supervisor(directory, lambda: stack, with_parent=False).run() == 0
    state = directory.read_state()
    assert state
    return state


def test_what_is_killed_is_begun_again_and_its_death_told(
    directory: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    life, deaths = directory.path / "life", list[bool]()
    crashing = server(
        directory,
        DIES_THEN_ENDS_THE_STACK,
        str(life),
        "SIGSEGV",
        ready=life.exists,
        restarts=True,
        on_death=lambda: deaths.append(True),
    )
    (row,) = after(directory, crashing).services
    assert (row.restarts, row.phase, row.exit_code) == (1, "stopped", -signal.SIGTERM)
    assert deaths == [True]
    told = f"server-True ended with exit code {-signal.SIGSEGV} (SIGSEGV)"
    assert told in capsys.readouterr().err


def test_what_ended_by_itself_is_told_and_begun_again_when_a_person_asks(
    directory: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    life, state_file = directory.path / "life", directory.path / "state.json"
    ending = server(
        directory, ENDS_THEN_ENDS_THE_STACK, str(life), "1", ready=life.exists, restarts=True
    )
    asking = replace(
        server(
            directory,
            ASKS_TO_BEGIN_AGAIN_WHEN_DEGRADED,
            str(state_file),
            ready=life.exists,
            restarts=True,
        ),
        name="asking",
    )
    state = after(directory, ending, asking)
    assert (state.services[0].phase, state.services[0].restarts) == ("stopped", 0)
    assert state.attempts == 1
    assert "server-True ended with exit code 1." in capsys.readouterr().err


def test_what_dies_at_every_start_is_given_up(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A life that only starts an interpreter is a short one on any machine.
    monkeypatch.setattr(supervisor, "_SHORT_LIFE_SECONDS", NET_SECONDS)
    life, state_file = directory.path / "life", directory.path / "state.json"
    dying = server(
        directory, DIES_AT_EVERY_START, str(life), "SIGSEGV", ready=life.exists, restarts=True
    )
    watching = server(
        directory, ENDS_THE_STACK_WHEN_DEGRADED, str(state_file), ready=life.exists, restarts=False
    )
    state = after(directory, dying, watching)
    assert (state.services[0].phase, state.services[0].restarts) == ("failed", 10)


def test_a_part_that_may_not_be_begun_again_is_told(directory: RunDirectory) -> None:
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


def test_who_ends_because_what_it_needs_was_away_is_begun_again_with_it(
    directory: RunDirectory,
) -> None:
    """A database and a consumer that are killed at once: the consumer must not be first."""
    life, there = directory.path / "life", directory.path / "there"
    needed = replace(
        server(directory, NEEDED, str(life), str(there), ready=there.exists, restarts=True),
        name="needed",
    )
    needs = replace(
        server(directory, NEEDS, str(life), str(there), ready=there.exists, restarts=True),
        name="needs",
        needs=frozenset({"needed"}),
    )
    state = after(directory, needed, needs)
    assert state.phase == "stopped"
    assert [row.restarts for row in state.services] == [1, 1]
    assert state.message == ""
