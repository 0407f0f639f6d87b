"""A member leaves its group in time, whatever its client waits for."""

import subprocess
import sys
from pathlib import Path

import pytest

from consumer.leaving import leave
from tests.waiting import NET_SECONDS

ROOT = Path(__file__).parents[2]
LEAVES = """
import ctypes, time
from consumer.leaving import leave
from runtime.exits import exit_after

class Client:
    def unsubscribe(self): pass
    def assignment(self): return []
    def poll(self, seconds): pass
    def close(self): {waits}

exit_after(lambda: leave(Client(), seconds=0.2, frozen_seconds={frozen}))
"""


class Client:
    """Has partitions until it was polled twice; notes what it was told."""

    def __init__(self, turns: int) -> None:
        self.told: list[str] = []
        self._turns = turns

    def unsubscribe(self) -> None:
        """Give the partitions back, as soon as it is polled."""
        self.told.append("unsubscribe")

    def assignment(self) -> list[int]:
        """What is left."""
        return [1] * self._turns

    def poll(self, _: float) -> None:
        """One turn."""
        self.told.append("poll")
        self._turns -= 1

    def close(self) -> None:
        """Close."""
        self.told.append("close")
        raise RuntimeError("refused")


def left(waits: str, frozen: float) -> subprocess.CompletedProcess[str]:
    """What becomes of a process whose client waits so when it closes."""
    return subprocess.run(
        [sys.executable, "-c", LEAVES.format(waits=waits, frozen=frozen)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=NET_SECONDS,
    )


def test_partitions_are_given_back_before_the_client_closes() -> None:
    client = Client(2)
    with pytest.raises(RuntimeError, match="refused"):
        leave(client)  # type: ignore[arg-type] # it is asked for nothing else
    assert client.told == ["unsubscribe", "poll", "poll", "poll", "close"]


def test_a_client_that_does_not_close_is_left_behind() -> None:
    done = left("time.sleep(300)", frozen=300)
    assert done.returncode == 0, done.stderr
    assert "left behind" in done.stdout + done.stderr


def test_a_client_that_freezes_the_process_ends_it_and_it_is_said_where() -> None:
    """As its rebalance callbacks do, which hold the interpreter's lock."""
    done = left("ctypes.PyDLL(None).sleep(300)", frozen=1)
    assert done.returncode == 1, done.stderr
    assert "Timeout" in done.stderr
    assert "in close" in done.stderr
