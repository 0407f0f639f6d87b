"""The worker: a thread that asks the ledger or Kafka, and how the loop waits for it."""

from collections.abc import Callable
from typing import TypeVar

from consumer.outside import Thread, Work
from consumer.waiting import Waiting

_Answer = TypeVar("_Answer")


class Worker:
    """Does one thing after the other. Used by the loop's thread only, but for `begin`.

    An answer may not come for as long as a standby or a coordinator is away, and the loop has to
    turn: a member that does not poll keeps the whole group from its next rebalance.

    Args:
        waiting: how the loop goes on polling meanwhile.
        give_up: makes whatever waits for the ledger fail.
        thread: in which it is done.
    """

    def __init__(self, waiting: Waiting, give_up: Callable[[], None], thread: Thread) -> None:
        self._waiting = waiting
        self._give_up = give_up
        self._thread = thread

    def begin(self, work: Callable[[], _Answer]) -> Work[_Answer]:
        """Have something done, after all that was begun before. For any thread."""
        return self._thread.begin(work)

    def end_of(self, work: Work[_Answer], whom: str | Callable[[], str] = "postgresql") -> _Answer:
        """Return what the work returns, or raise what it raises.

        Where that takes long, the loop polls meanwhile, and `whom` is missing.
        """
        waits_for = whom if callable(whom) else lambda: whom
        self._waiting.for_end_of(work, waits_for, self._give_up)
        return work.result()

    def ask(self, work: Callable[[], _Answer], whom: str = "postgresql") -> _Answer:
        """Have something done and wait for it; `whom` is missing where that takes long."""
        return self.end_of(self.begin(work), whom)

    def close(self) -> None:
        """Return when nothing is left to do."""
        self._thread.close()
