"""Bounding how long requests wait, at no cost to those that need not."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar, cast

_T = TypeVar("_T")


class Deadline:
    """Ends waits that take too long: one timer for all of them, as all may take equally long.

    `asyncio.timeout` makes a timer for each wait and cancels it, which costs a request more than
    reading its body does. Belongs to the event loop in which it is first used.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._ends = dict[asyncio.Task[Any], float]()
        """By task, in the order in which they end."""
        self._late = set[asyncio.Task[Any]]()
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, waiting: Awaitable[_T]) -> _T:
        """Return what `waiting` returns. Raises `TimeoutError` where it is cancelled as too late.

        Not to be used inside of itself.
        """
        loop = asyncio.get_running_loop()
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._ends[task] = loop.time() + self._timeout_s
        if self._timer is None:
            self._timer = loop.call_later(self._timeout_s, self._sweep, loop)
        try:
            return await waiting
        except asyncio.CancelledError:
            if task in self._late and not task.uncancel():
                raise TimeoutError from None
            raise
        finally:
            self._late.discard(task)
            self._ends.pop(task, None)

    def end(self, task: asyncio.Task[Any]) -> None:
        """End the wait of a task now, as if it were late; nothing where it does not wait."""
        if self._ends.pop(task, None) is not None:
            self._late.add(task)
            task.cancel()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what is late, and come again when the next one would be."""
        self._timer, now = None, loop.time()
        for task, end in list(self._ends.items()):
            if end > now:
                self._timer = loop.call_at(end, self._sweep, loop)
                return
            self.end(task)
