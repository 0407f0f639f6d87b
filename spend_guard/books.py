"""The books, asked from threads: each has a connection of its own."""

import asyncio
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

import structlog

from ledger.accounts import Account, Entry, Movement, Posted
from ledger.admission import Answer, Ask, HoldRow
from ledger.healing import LedgerError, heals, kept_waiting
from ledger.holds import Unknown
from runtime.logs import OnceAMinute
from spend_guard import metrics
from spend_guard.health import Health

T = TypeVar("T")
_LOG: Final = structlog.get_logger(__name__)
_QUICK_SECONDS: Final = 0.5
"""What fails in less, such as a connection that broke while nobody asked, is tried once more."""


_ANSWER_SECONDS: Final = 30.0
"""No statement of the ledger takes so long, but where its server is frozen."""


class AwayError(Exception):
    """The books do not answer; whoever asked may ask again."""


class LockedError(AwayError):
    """Another transaction has the rows; nothing was done."""


class Connected(Protocol):
    """What holds a connection."""

    def close(self) -> None:
        """Drop the connection."""


class HoldBooks(Connected, Protocol):
    """What is asked of `ledger.holds.Holds`."""

    def place(self, asks: Sequence[Ask], unknown: Unknown, locked: Collection[str]) -> list[Answer]:
        """Answer asks for holds."""

    def release(self, hold: UUID) -> HoldRow | None:
        """Release a hold."""


class CreditBooks(Connected, Protocol):
    """What is asked of `ledger.credits.Credits`."""

    def account(self, name: str) -> Account | None:
        """Return an account."""

    def entries(self, name: str, before: int | None, limit: int) -> list[Entry]:
        """Return entries of an account."""

    def post(self, movement: Movement, unknown: Unknown) -> Posted:
        """Move credits."""


B = TypeVar("B", bound=Connected)


class Books(Generic[B]):
    """Asks the books in `threads` threads, each with what `make` returns to it.

    What has no answer after `seconds` is away. Its thread waits on, and nobody knows what it does.
    """

    def __init__(
        self,
        make: Callable[[], B],
        threads: int,
        health: Health,
        seconds: float = _ANSWER_SECONDS,
    ) -> None:
        self._make = make
        self._seconds = seconds
        self._health = health
        self._own = threading.local()
        self._opened = list[B]()
        self._pool = ThreadPoolExecutor(threads, "books")
        self._say = OnceAMinute()

    async def ask(self, what: Callable[[B], T]) -> T:
        """Return what `what` returns for the books of a thread.

        Raises `AwayError`, and `LockedError` where somebody else has what was to be locked.
        """
        asking = asyncio.get_running_loop().run_in_executor(self._pool, self._ask, what)
        try:
            found = await asyncio.wait_for(asking, self._seconds)
        except TimeoutError as error:
            self._health.away = True
            self._tell("TimeoutError", f"no answer within {self._seconds:g} s")
            raise AwayError from error
        except LedgerError as error:
            if kept_waiting(error):
                self._health.away = False
                raise LockedError from error
            self._health.away = True
            self._tell(type(error).__name__, str(error).strip()[:500])
            raise AwayError from error
        self._health.away = False
        return found

    def _ask(self, what: Callable[[B], T]) -> T:
        books: B | None = getattr(self._own, "books", None)
        if books is None:
            books = self._own.books = self._make()
            self._opened.append(books)
        began = monotonic()
        try:
            return what(books)
        except LedgerError as error:
            again = heals(error) and not kept_waiting(error)
            if not again or monotonic() - began > _QUICK_SECONDS:
                raise
            metrics.FAULTS.labels("asking").inc()
            return what(books)

    def _tell(self, error: str, detail: str) -> None:
        metrics.FAULTS.labels("asking").inc()
        if (times := self._say.now()) is not None:
            _LOG.error("books_do_not_answer", error=error, detail=detail, times=times)

    def close(self) -> None:
        """Wait for what is asked, and close the connections."""
        self._pool.shutdown()
        for books in self._opened:
            books.close()
