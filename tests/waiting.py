"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import psutil

T = TypeVar("T")

DEADLINE_SECONDS = 60.0
PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS: Final = 0.25
PAUSE_SHARE: Final = 0.1
"""Of the time waited so far. Tests run beside each other: what one asks, another waits for."""
NET_SECONDS: Final = 600.0
"""For what can only count seconds of the wall (a client's timeout, a future, a subprocess).

A net under what hangs and no bound: it is long enough for a machine that stands still meanwhile.
"""
BUSY_SHARE: Final = 0.125
"""What a second counts in which somebody waited for a processor or a disk."""
PRESSURE: Final = Path("/proc/pressure")


class Stopwatch:
    """Seconds since it was made, as far as the machine had them for the tests.

    Where the host of a virtual machine gives its processors to other guests for a while, nothing
    here is slow: it stands still, and those seconds do not count. Where more processes want to run
    than there are processors, or wait for the disk, everything takes its multiple: such a second
    counts as `BUSY_SHARE`. Only Linux tells (`steal`, pressure); elsewhere every second counts.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._taken = _taken_by_others()
        self._waited = _waited()

    def seconds(self) -> float:
        """How much time has passed that processes could have used."""
        pairs = zip(_taken_by_others(), self._taken, strict=True)
        had = time.monotonic() - self._began - max(now - then for now, then in pairs)
        waited = min(max(had, 0.0), _waited() - self._waited)
        return had - (1 - BUSY_SHARE) * waited


def _taken_by_others() -> list[float]:
    """Seconds that the host has given to other guests, by processor."""
    return [getattr(times, "steal", 0.0) for times in psutil.cpu_times(percpu=True)]


def _waited() -> float:
    """Seconds in which some process was held up for want of a processor or by the disk."""
    return sum(_pressure(PRESSURE / kind) for kind in ("cpu", "io"))


def _pressure(file: Path) -> float:
    try:
        some = file.read_text().partition("\n")[0]
    except OSError:
        return 0.0  # no Linux, or a kernel that does not count it
    return int(some.rpartition("total=")[2]) / 1_000_000


def eventually(
    condition: Callable[[], T], what: str, deadline_seconds: float = DEADLINE_SECONDS
) -> T:
    """Call `condition` until it gives something true, and return that.

    Args:
        condition: asked about twenty times a second, more seldom after the first; an exception ends
            the wait at once.
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
        waited = watch.seconds()
        if waited > deadline_seconds:
            raise TimeoutError(
                f"gave up waiting for {what} after {deadline_seconds:g} s;"
                f" the last answer was {answer!r}"
            )
        time.sleep(min(max(PAUSE_SECONDS, PAUSE_SHARE * waited), LONGEST_PAUSE_SECONDS))
