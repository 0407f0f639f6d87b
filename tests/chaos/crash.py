"""A real consumer that kills itself at a named step: `python -m tests.chaos.crash STEP BATCH`.

The steps are wrapped from outside, so that the consumer's own code carries no switch for tests.
SIGKILL leaves no time for anything: nothing is flushed, closed or told to anybody.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from psycopg import Copy

from consumer import service
from consumer.limit import DeadLetterLimit
from consumer.publisher import Publisher
from consumer.reading import Reader
from consumer.settings import load
from ledger.receipts import ReceiptWriter

STEPS = (
    "after_poll",
    "after_decide",
    "mid_copy",
    "after_database_commit",
    "during_kafka_commit",
    "after_kafka_commit",
)
COMMIT_HEAD_START_SECONDS = 0.002


def die() -> None:
    """End this process as a crash does."""
    os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
    """Dies at the `batch`-th time that a step is reached with something in hand."""

    def __init__(self, batch: int) -> None:
        self._left = batch

    def reached(self) -> bool:
        """Count one; true when it is time."""
        self._left -= 1
        return self._left == 0


def wrap(owner: type, name: str, wrapper: Callable[..., Any]) -> None:
    """Replace a method by `wrapper(original, self, *args)`."""
    original = getattr(owner, name)

    def replaced(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any method's
        return wrapper(original, *args, **kwargs)

    setattr(owner, name, replaced)


def arm(step: str, batch: int) -> None:
    """Make this process die at `step` of its `batch`-th batch."""
    countdown = Countdown(batch)

    def before(original: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401
        if countdown.reached():
            die()
        return original(*args)

    def after(original: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401
        result = original(*args)
        if result != [] and countdown.reached():
            die()
        return result

    def amid(original: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401
        if countdown.reached():
            threading.Thread(target=original, args=args).start()
            time.sleep(COMMIT_HEAD_START_SECONDS)
            die()
        return original(*args)

    places: dict[str, tuple[type, str, Callable[..., Any]]] = {
        "after_poll": (Reader, "batch", after),
        "after_decide": (DeadLetterLimit, "count", after),
        "mid_copy": (Copy, "write_row", before),
        "after_database_commit": (ReceiptWriter, "write", after),
        "during_kafka_commit": (Publisher, "_commit", amid),
        "after_kafka_commit": (Publisher, "publish", after),
    }
    wrap(*places[step])


def main() -> None:
    """Run the consumer with its fuse lit."""
    step, batch = sys.argv[1:]
    arm(step, int(batch))
    service.run(load())


if __name__ == "__main__":
    main()
