"""The world of a schedule: actors that take turns in an order of a seed, and a clock that jumps.

An actor runs until it pauses; then the world lets another one run. Nothing happens at the same time
and nothing waits in earnest, so that a seed makes the same schedule again, in milliseconds.
"""

import random
from collections.abc import Callable
from typing import Final

from greenlet import GreenletExit, getcurrent, greenlet

ENDLESS: Final = float("inf")
TURNS_AT_MOST: Final = 40_000


class StuckError(AssertionError):
    """Nothing can happen any more, or too much has happened, and the end is not reached."""


class BrokenError(AssertionError):
    """Something happened that must never be."""


class Actor:
    """Something that runs by itself: a member's loop, or another thread of it."""

    def __init__(self, owner: str, run: Callable[[], None], hub: greenlet, now: float) -> None:
        self.owner = owner
        self.wakes = now
        self.thaws = 0.0
        self.ended = False
        self.killed = False
        self.error: Exception | None = None
        self._run = run
        self.greenlet = greenlet(self._whole, parent=hub)

    def _whole(self) -> None:
        try:
            self._run()
        except GreenletExit:
            pass
        except Exception as error:
            self.error = error
        finally:
            self.ended = True


class World:
    """Actors, their clock, and the chance that orders them.

    Args:
        seed: of the chance.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self._hub = getcurrent()
        self._actors: list[Actor] = []
        self._turn: Actor | None = None
        self._turns = 0

    def time(self) -> float:
        """Seconds since the world began."""
        return self.now

    def begin(self, owner: str, run: Callable[[], None]) -> Actor:
        """Have something run; `owner` is what it dies and freezes with."""
        actor = Actor(owner, run, self._hub, self.now)
        self._actors.append(actor)
        return actor

    def pause(self, seconds: float = 0.0) -> None:
        """Let others run; the actor that calls goes on so many seconds later at the earliest."""
        actor = self._turn
        assert actor is not None, "only an actor pauses"
        if actor.killed:
            raise GreenletExit
        actor.wakes = max(self.now + seconds, actor.thaws)
        self._hub.switch()

    def wait(self, until: Callable[[], bool], seconds: float = ENDLESS, look: float = 0.2) -> bool:
        """Pause until something is so, or so many seconds are over; whether it is so.

        Looks every `look` seconds, and when the actor is woken.
        """
        deadline = self.now + seconds
        while not until():
            if self.now >= deadline:
                return False
            self.pause(min(deadline - self.now, look))
        return True

    @property
    def turn(self) -> Actor:
        """Who runs now."""
        assert self._turn is not None
        return self._turn

    def wake(self, actor: Actor | None) -> None:
        """Let an actor that waits look again."""
        if actor is not None:
            actor.wakes = max(min(actor.wakes, self.now), actor.thaws)

    def kill(self, owner: str) -> None:
        """End every actor of an owner, wherever it stands."""
        for actor in [actor for actor in self._actors if actor.owner == owner]:
            actor.killed = True
            if not actor.ended:
                turn, self._turn = self._turn, actor
                actor.greenlet.throw(GreenletExit)
                self._turn = turn
            actor.ended = True
            self._actors.remove(actor)

    def freeze(self, owner: str, seconds: float) -> None:
        """Let no actor of an owner run for so long."""
        for actor in self._actors:
            if actor.owner == owner:
                actor.thaws = self.now + seconds
                actor.wakes = max(actor.wakes, actor.thaws)

    def run(self, until: Callable[[], bool], each: Callable[[], None]) -> None:
        """Let actors run until something is so; `each` is called before each turn.

        Raises `StuckError`, and what an actor has raised.
        """
        while not until():
            self._turns += 1
            if self._turns > TURNS_AT_MOST:
                raise StuckError(f"{TURNS_AT_MOST} turns and no end")
            each()
            now = self.now
            ready = [actor for actor in self._actors if actor.wakes <= now]
            if not ready:
                self._jump()
                continue
            turn = self._turn = ready[int(self.chance.random() * len(ready))]
            turn.greenlet.switch()
            if turn.ended:
                self._actors.remove(turn)
                if turn.error is not None:
                    raise turn.error

    def _jump(self) -> None:
        if not self._actors:
            raise StuckError("everybody has ended")
        self.now = min(actor.wakes for actor in self._actors)
        if self.now == ENDLESS:
            raise StuckError("everybody waits")

    def close(self) -> None:
        """End every actor."""
        for owner in {actor.owner for actor in self._actors}:
            self.kill(owner)
