"""The worker: a thread that asks the ledger or Kafka, and how the loop waits for it."""

from collections.abc import Callable
from functools import partial
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


class FollowsFailureError(Exception):
    """Nothing was done, because what was to be done before has failed."""


class Stage:
    """Has a worker do one batch after the other, and none after one that failed, until `resume`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._failed = False

    def begin(self, work: Callable[[], _Answer]) -> Work[_Answer]:
        """Have something done; it ends with a `FollowsFailureError` where it is not begun."""
        return self._worker.begin(partial(self._do, work))

    def _do(self, work: Callable[[], _Answer]) -> _Answer:
        if self._failed:
            raise FollowsFailureError
        self._failed = True
        answer = work()
        self._failed = False
        return answer

    def resume(self) -> None:
        """Go on after a failure; nothing is under way."""
        self._failed = False
