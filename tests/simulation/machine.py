"""The simulated machine: the world's clock, and other threads of the same process."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tests.simulation.world import ENDLESS, Actor, World

_Answer = TypeVar("_Answer")


class SimulatedWork:
    """Something that another thread does."""

    def __init__(self, world: World, work: Callable[[], Any]) -> None:
        self._world = world
        self._work = work
        self._done = False
        self._waits: Actor | None = None
        self._answer: Any = None
        self._error: Exception | None = None

    def run(self) -> None:
        """Do it."""
        try:
            self._answer = self._work()
        except Exception as error:
            self._error = error
        self._done = True
        self._world.wake(self._waits)

    def done(self) -> bool:
        return self._done

    def wait(self, seconds: float | None = None) -> bool:
        self._waits = self._world.turn
        return self._world.wait(self.done, ENDLESS if seconds is None else seconds, ENDLESS)

    def result(self) -> Any:
        self.wait()
        if self._error is not None:
            raise self._error
        return self._answer


class SimulatedThread:
    """One more actor of the same owner, which does one thing after the other."""

    def __init__(self, world: World, owner: str) -> None:
        self._world = world
        self._left: list[SimulatedWork] = []
        self._closed = False
        self._actor = world.begin(owner, self._run)

    def _run(self) -> None:
        while not (self._closed and not self._left):
            if self._left:
                one = self.next(self._left)
                one.run()
                self._left.remove(one)
            else:
                self._world.pause(ENDLESS)

    def next(self, left: Sequence[SimulatedWork]) -> SimulatedWork:
        """What is done next."""
        return left[0]

    def begin(self, work: Callable[[], _Answer]) -> Any:
        """After all that was begun before."""
        one = SimulatedWork(self._world, work)
        self._left.append(one)
        self._world.wake(self._actor)
        return one

    def close(self) -> None:
        """When nothing is left."""
        self._closed = True
        self._world.wake(self._actor)
        self._world.wait(lambda: not self._left, look=0.05)


class SimulatedMachine:
    """The world's clock, and more actors of the same owner."""

    def __init__(self, world: World, owner: str) -> None:
        self._world = world
        self._owner = owner
        self.now = world.time

    def thread(self, _: str) -> SimulatedThread:
        """One more."""
        return SimulatedThread(self._world, self._owner)
