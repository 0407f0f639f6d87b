"""Migrations in steps: statements that run one by one, beside members that write.

Each step may be taken again, so whoever interrupts them loses one step at most. An index that an
interrupted step has left half made is dropped and made anew.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, LiteralString, TypeAlias

import structlog
from psycopg import Connection, sql

from ledger.queries import query

log = structlog.get_logger("ledger")

_Connection: TypeAlias = Connection[tuple[Any, ...]]
_CONCURRENTLY: Final = " CONCURRENTLY"
_LOOK_SECONDS: Final = 1.0
_COMMENT: Final = re.compile(r"^--.*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a migration."""

    connection: _Connection
    statement: LiteralString

    @property
    def name(self) -> str:
        """What it does, in the words of SQL, on one line."""
        return " ".join(_COMMENT.sub("", self.statement).split())

    def take(self) -> None:
        """Run it. Raises `psycopg.Error`; then it may be taken again.

        What needs an exclusive lock waits for it two seconds at most. What is concurrent waits for
        every transaction that began before it, and holds nobody up meanwhile.
        """
        self._clear()
        if _CONCURRENTLY in self.statement:
            self.connection.execute(self.statement)
            return
        with self.connection.transaction():
            self.connection.execute(query("begin_step"))
            self.connection.execute(self.statement)

    def _clear(self) -> None:
        """Drop the index of this statement where it is half made, or half dropped."""
        for (index,) in self.connection.execute(query("find_invalid_indexes")).fetchall():
            if re.search(rf"\b{re.escape(index)}\b", self.name):
                log.warning(
                    "an index that an interrupted migration has left is dropped", index=index
                )
                name = sql.Identifier("billing", index)
                self.connection.execute(
                    sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(name)
                )


def run(connection: _Connection, text: LiteralString) -> Iterator[Step]:
    """Yield the steps of a migration, in order; `connection` commits each statement by itself."""
    for statement in text.split(";\n"):
        if statement.strip():
            yield Step(connection, statement.strip())


def at_once(text: LiteralString) -> LiteralString:
    """Return the same statements for one transaction, where nobody is there to be held up."""
    return text.replace(_CONCURRENTLY, "")


@contextmanager
def alone(connect: Callable[[], _Connection]) -> Iterator[_Connection]:
    """Be the only process that takes steps, for as long as the block; yields what holds the lock.

    It is a transaction that stays open, so it needs a connection of its own; who asks it anything
    learns whether the lock is held still. Raises `psycopg.Error`.
    """
    with connect() as connection:
        said = False
        while not _locked(connection):
            connection.rollback()
            if not said:
                log.info("another process migrates this ledger: waiting for it")
                said = True
            time.sleep(_LOOK_SECONDS)
        yield connection


def _locked(connection: _Connection) -> bool:
    cursor = connection.execute(query("lock_steps"))
    while cursor.nextset():
        pass
    return cursor.fetchone() == (True,)
