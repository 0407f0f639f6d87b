"""The deadline: what asks Kafka ends in time, or is left behind.

librdkafka (issue 5456) may wait for a lost coordinator without end, whatever timeout it is given.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

_Answer = TypeVar("_Answer")


class DeadlineError(Exception):
    """It did not end in time, and its thread is left behind: nobody knows what it still does."""


def within(seconds: float, work: Callable[[], _Answer], name: str) -> _Answer:
    """Return what `work` returns, in a thread of its own, or raise what it raises.

    Raises `DeadlineError` where it takes longer. What is left behind must be fenced then.
    """
    answers: list[_Answer] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            answers.append(work())
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits
            failures.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise DeadlineError(f"{name} did not end within {seconds:g} s")
    if failures:
        # Taken out: a failure that its own traceback leads to is freed late, with all that it has.
        raise failures.pop()
    [answer] = answers
    return answer
