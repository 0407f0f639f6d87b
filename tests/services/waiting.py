"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

DEADLINE_SECONDS = 60.0
PAUSE_SECONDS = 0.05


def eventually(
    condition: Callable[[], T], what: str, deadline_seconds: float = DEADLINE_SECONDS
) -> T:
    """Call `condition` until it gives something true, and return that.

    Args:
        condition: asked about twenty times a second; an exception ends the wait at once.
        what: completes the sentence "gave up waiting for ..." when the deadline passes.
        deadline_seconds: how long the condition may take to become true.

    Raises:
        TimeoutError: says what was waited for, for how long, and the last answer.
    """
    deadline = time.monotonic() + deadline_seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"gave up waiting for {what} after {deadline_seconds:g} s;"
                f" the last answer was {answer!r}"
            )
        time.sleep(PAUSE_SECONDS)
