"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

T = TypeVar("T")

DEADLINE_SECONDS = 60.0
PAUSE_SECONDS = 0.05


class Stopwatch:
    """Seconds since it was made, without those that the machine did not have.

    Where the host of a virtual machine gives its processors to other guests for a while, nothing
    here is slow: it stands still. Only Linux tells (`steal`); elsewhere every second counts.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._taken = _taken_by_others()

    def seconds(self) -> float:
        """How much time has passed that processes could have used."""
        taken = zip(_taken_by_others(), self._taken, strict=True)
        return time.monotonic() - self._began - max(now - then for now, then in taken)


def _taken_by_others() -> list[float]:
    """Seconds that the host has given to other guests, by processor."""
    return [getattr(times, "steal", 0.0) for times in psutil.cpu_times(percpu=True)]


def eventually(
    condition: Callable[[], T], what: str, deadline_seconds: float = DEADLINE_SECONDS
) -> T:
    """Call `condition` until it gives something true, and return that.

    Args:
        condition: asked about twenty times a second; an exception ends the wait at once.
        what: completes the sentence "gave up waiting for ..." when the deadline passes.
        deadline_seconds: how long the condition may take to become true, by a `Stopwatch`.

    Raises:
        TimeoutError: says what was waited for, for how long, and the last answer.
    """
    watch = Stopwatch()
    while True:
        answer = condition()
        if answer:
            return answer
        if watch.seconds() > deadline_seconds:
            raise TimeoutError(
                f"gave up waiting for {what} after {deadline_seconds:g} s;"
                f" the last answer was {answer!r}"
            )
        time.sleep(PAUSE_SECONDS)
