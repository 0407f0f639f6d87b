"""An event loop whose clock jumps: waiting takes no time, and no machine is too slow for it."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Where nothing is ready, the time until the next timer has passed at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Look for what is ready; without a timer, wait for it as usual."""
        if timeout is None:
            return super().select(None)
        found = super().select(0)
        if not found:
            self.now += max(0.0, timeout)
        return found


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """The clock that jumps."""
        return self._jumping.now


def run_in_jumps(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, on a clock that jumps to the next timer where nothing else is to do.

    Not for what waits for sockets or threads beside timers: they would be overtaken.
    """
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
