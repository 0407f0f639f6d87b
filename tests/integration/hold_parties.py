"""Those who make a hold and end it: spend guards and sweepers, and who begins them again."""

import asyncio
from collections.abc import Callable, Sequence
from threading import Event
from typing import Any, Final, Generic, Protocol, TypeVar
from uuid import UUID

import pytest

from ledger.admission import Answer, Ask
from ledger.healing import LedgerError, heals
from ledger.holds import Holds
from spend_guard.books import AwayError, Books, HoldBooks
from spend_guard.health import Health
from spend_guard.placing import Bounds, Placing
from spend_guard.sweeping import Sweeper
from tests.doubles.dying_connection import Fuse, Killed
from tests.waiting import NET_SECONDS

GUARD_ROLE: Final = "billing_guard"
TRIES: Final = 50
LOCK_MS: Final = 10_000
T = TypeVar("T")


class Guard:
    """What stands behind the door of a spend guard."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._runner.get_loop().set_exception_handler(_unless_killed)
        health = Health(NET_SECONDS)
        self._books = Books[HoldBooks](lambda: Holds(url, GUARD_ROLE, LOCK_MS), 1, health)
        bounds = Bounds(1, 500, 5_000, NET_SECONDS)
        self._placing = Placing(self._books, self._books, "open", bounds)

    def ask(self, asks: Sequence[Ask]) -> list[Answer]:
        """Answer asks that come at once."""

        async def answered() -> list[Answer]:
            return await asyncio.gather(*map(self._placing.place, asks))

        return self._runner.run(answered())

    def release(self, hold: UUID) -> str:
        """Release a hold; the state that it has then."""
        found = self._runner.run(self._books.ask(lambda books: books.release(hold)))
        assert found is not None
        return found.state

    def close(self) -> None:
        """End it."""
        self._runner.close()
        self._books.close()


def _unless_killed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # Of a task of a process that is dead, nobody asks what became of it.
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)


class Sweeping:
    """The sweeper of a spend guard."""

    def __init__(self, url: str) -> None:
        self._holds = Holds(url, GUARD_ROLE)
        self._sweeper = Sweeper(
            self._holds,
            Health(NET_SECONDS),
            Event(),
            lambda fault: pytest.fail(str(fault)),
            every_seconds=1,
            keep_days=30,
        )

    def sweep(self) -> None:
        """Look for expired holds once."""
        self._sweeper.sweep()

    def close(self) -> None:
        """End it."""
        self._holds.close()


class Closes(Protocol):
    """What a process is made of."""

    def close(self) -> None:
        """End it."""


P = TypeVar("P", bound=Closes)


class Party(Generic[P]):
    """A process that does what it is to do until it is done; another one where it was killed."""

    def __init__(self, make: Callable[[], P], fuse: Fuse) -> None:
        self._make, self._fuse = make, fuse
        self._process = make()

    def until_done(self, what: Callable[[P], T]) -> T:
        """Do it over and over, as whoever asked asks again; what it returned."""
        for _ in range(TRIES):
            kills = self._fuse.kills
            try:
                return what(self._process)
            except (Killed, AwayError, LedgerError) as fault:
                cause = fault.__cause__ or fault
                if isinstance(cause, LedgerError) and not heals(cause):
                    raise
            if self._fuse.kills > kills:
                self._process.close()
                self._process = self._make()
        raise AssertionError(f"not done in {TRIES} tries")

    def close(self) -> None:
        """End it."""
        self._process.close()
