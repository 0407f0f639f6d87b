"""A connection to PostgreSQL whose process dies, or which breaks, at any step that is chosen."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from random import Random
from typing import Any, ClassVar, Final, TypeVar

import pytest
from psycopg import Connection, OperationalError
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

T = TypeVar("T")
_SHARE: Final = 0.05
"""How many of the steps are crashes where chance says which."""


class Killed(BaseException):
    """SIGKILL: nothing of the process goes on, so nothing may catch it but a test."""


class End(Enum):
    """What happens to whoever has the connection."""

    BROKEN = auto()
    """It goes on, and is told of a connection that broke."""
    KILLED = auto()
    """It is gone."""


class Fuse:
    """Says at which step there is a crash; none before it is lit.

    Whatever is sent to the server and answered is a trip. There is a step before each, and one
    behind each that ended a transaction: what was committed is there, and its answer is lost. In
    the midst of a transaction, behind a trip is before the next one. Safe for threads.

    `steps` counts them since it was lit, and `kills` all processes that were killed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.kills = 0
        self.light()

    def light(self, at: int = 0, end: End = End.BROKEN, chance: Random | None = None) -> None:
        """Begin to count anew.

        Args:
            at: the number of the step that is a crash, from 1; 0 is none of them.
            end: what the crash is.
            chance: if there is one, any step may be a crash, over and over.
        """
        with self._lock:
            self._at, self._end, self._chance = at, end, chance
            self.steps = 0

    def reached(self) -> End | None:
        """Count a step; how it ends, None where it goes on."""
        with self._lock:
            self.steps += 1
            end = self._end if self.steps == self._at else None
            if self._chance is not None and self._chance.random() < _SHARE:
                end = self._chance.choice(list(End))
            self.kills += end is End.KILLED
        return end


class DyingConnection(Connection[Any]):
    """A connection that is lost where the fuse says so."""

    fuse: ClassVar[Fuse] = Fuse()

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - psycopg's own
        """Make a trip, unless there is a crash before it or behind it."""
        self._step()
        done = super().wait(gen, *args, **kwargs)
        if self.pgconn.transaction_status == TransactionStatus.IDLE:
            self._step()
        return done

    def _step(self) -> None:
        # Whoever rolls back behind a crash has no server to talk to.
        end = None if self.closed else self.fuse.reached()
        if end is not None:
            # As the kernel does for a process that is gone: the server ends the transaction.
            self.close()
            raise Killed if end is End.KILLED else OperationalError("the connection is lost")


@contextmanager
def crashing(fuse: Fuse) -> Iterator[Fuse]:
    """Every connection that the ledger opens crashes by this fuse, for as long as the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ledger.address.Connection", DyingConnection)
        patch.setattr(DyingConnection, "fuse", fuse)
        yield fuse
