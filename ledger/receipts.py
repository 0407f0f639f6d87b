"""The ledger: one PostgreSQL transaction a batch, receipts created once and never changed.

Nothing outlives a transaction: role and limits are its own. So a pooler may
give each transaction another session, and none of them keeps what was ours.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, LiteralString

import structlog
from msgspec.structs import replace
from psycopg import (
    Connection,
    Cursor,
    DataError,
    Error,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    sql,
)
from psycopg.errors import ProgramLimitExceeded, ReadOnlySqlTransaction, UniqueViolation

from charging.outcomes import Decided, Outcome, OutcomeKind, Parked
from ledger import positions
from ledger.address import connect
from ledger.apply import apply
from ledger.debits import CreditTerms
from ledger.gap import Known, Published
from ledger.healing import heals
from ledger.migration import newest
from ledger.queries import query
from ledger.rereading import reread
from runtime.metrics import RETRIES
from schemas.headers import Reason

log = structlog.get_logger("consumer")

_ATTEMPTS: Final = 3
"""How often a batch may meet another member that writes one of its calls in the same moment."""
_TERMS: Final = CreditTerms()
_ANSWER_SECONDS: Final = 10.0
"""How long a question may take whose answer changes nothing."""


class ReceiptWriter:
    """Writes batches. Reconnects by itself after a failure that `heals`.

    New receipts are debited by `terms`; None has no credits moved. They are sealed unless `seals`
    is false. Not safe for threads, except for `abandon`.
    """

    def __init__(
        self,
        database_url: str,
        role: str,
        terms: CreditTerms | None = _TERMS,
        *,
        seals: bool = True,
    ) -> None:
        self._url = database_url
        self._role = role
        self._terms = terms
        self._seals = seals
        self._connection: Connection[tuple[Any, ...]] | None = None
        self._abandoned = False

    def write(self, batch: Sequence[Decided], published: Sequence[Published] = ()) -> list[Outcome]:
        """Write a batch in one transaction and say, record for record, what became of it.

        `published` is remembered with it: up to where the partitions are written afterwards, and
        had been published before. Where the ledger knows of more, those events are left out,
        unless a person wants them again. Raises `LedgerBehindError`, with nothing of that
        remembered, where the ledger had known less than the group has committed.
        On return the transaction is committed (synchronously durable as far as the server is
        configured to). Raises a `psycopg.Error` that `heals` when nothing is known to be written:
        writing the same batch again is then right and harmless. A record that PostgreSQL refuses
        for its content is parked; its neighbours are written. Raises any other `psycopg.Error`
        where the fault is the installation's, such as a role that does not exist.
        """
        refusal: DataError | IntegrityError | ProgramLimitExceeded | None = None
        for _ in range(_ATTEMPTS):
            try:
                return self._write(batch, published)
            except UniqueViolation as error:
                # Another member has just written one of these calls: now it is there to be found.
                RETRIES.labels("postgresql").inc()
                refusal = error
            except (DataError, IntegrityError, ProgramLimitExceeded) as error:
                refusal = error
                break
        if len(batch) == 1 and refusal:
            if published:
                self.remember(published)
            return [_refused(batch[0], refusal)]
        middle = len(batch) // 2
        # With the last part, as only then all of it is written. Where nothing is committed the
        # first part repeats nothing: no member commits an offset of zero.
        begun = [
            replace(
                one,
                next_offset=one.committed,
                published_offset=min(one.published_offset, one.committed),
            )
            for one in published
            if one.committed
        ]
        return self.write(batch[:middle], begun) + self.write(batch[middle:], published)

    def _write(self, batch: Sequence[Decided], published: Sequence[Published]) -> list[Outcome]:
        with self._transaction() as cursor:
            before = positions.remember(cursor, published)
            outcomes = apply(cursor, batch, self._terms, seals=self._seals)
            if not before:
                return outcomes
            # Looked at once more: who had the lock of these rows before may have set them back.
            now = positions.known(cursor, published[0].group, before)
            before = {place: min(end, now[place].published_offset) for place, end in before.items()}
            # Known to be unpublished from the moment on in which it is written: a crash may follow.
            outcomes, unpublished = reread(outcomes, published, before)
            for one, offset in unpublished:
                positions.unpublish(cursor, one, offset)
            return outcomes

    def takes(self, decided: Decided) -> bool:
        """Say whether the tables take a decided record; leaves no trace of it.

        Raises a `psycopg.Error` that `heals` unless the database answers.
        """
        try:
            with self._transaction(force_rollback=True) as cursor:
                apply(cursor, [decided], self._terms, seals=self._seals)
        except (DataError, IntegrityError) as error:
            log.warning("the tables refuse the sample", detail=str(error).strip()[:300])
            return False
        return True

    def remember(self, published: Sequence[Published]) -> None:
        """Write down up to where partitions are written and published.

        Raises `LedgerBehindError`, and a `psycopg.Error` that `heals` unless the database answers.
        """
        with self._transaction() as cursor:
            positions.remember(cursor, published)

    def known(
        self, group: str, places: Collection[tuple[str, int]]
    ) -> dict[tuple[str, int], Known]:
        """Return up to where partitions are written and published, as far as that is known.

        Raises a `psycopg.Error` that `heals` unless a database answers that takes what is written:
        a standby knows less than its primary, which is no loss.
        """
        with self._in_time(), self._transaction() as cursor:
            if cursor.execute(query("read_only")).fetchone() == ("on",):
                raise ReadOnlySqlTransaction("the server takes nothing, and may be a standby")
            return positions.known(cursor, group, places)

    def move(self, group: str, moves: Sequence[positions.Move]) -> list[positions.Move]:
        """Have partitions read on from elsewhere; see `positions.move`.

        Raises a `psycopg.Error` that `heals` unless the database answers.
        """
        with self._transaction() as cursor:
            return positions.move(cursor, group, moves)

    def ping(self) -> None:
        """Raise a `psycopg.Error` unless the database takes what this role writes."""
        with self._in_time(), self._transaction(force_rollback=True) as cursor:
            cursor.execute(query("insert_deferred"), {"rows": "[]"})

    def open_deferred(self) -> tuple[int, float]:
        """Return the number of open deferrals and the age of the oldest in seconds.

        Raises a `psycopg.Error` that `heals` unless the database answers.
        """
        row = self._ask(query("open_deferred"))
        return (int(row[0]), float(row[1])) if row else (0, 0.0)

    def waiting_responses(self) -> tuple[int, float]:
        """Return how many callbacks of background responses wait for another, and the oldest's age.

        In seconds. Raises `psycopg.OperationalError` unless the database answers.
        """
        row = self._ask(query("waiting_responses"))
        return (int(row[0]), float(row[1])) if row else (0, 0.0)

    def _ask(self, question: LiteralString) -> tuple[Any, ...] | None:
        with self._in_time(), self._transaction() as cursor:
            return cursor.execute(question).fetchone()

    @contextmanager
    def _transaction(self, *, force_rollback: bool = False) -> Iterator[Cursor[Any]]:
        """A transaction as our role, within our limits."""
        connection = self._connect()
        try:
            with (
                connection.transaction(force_rollback=force_rollback),
                connection.cursor() as cursor,
            ):
                self._begin(cursor)
                yield cursor
        except Error as error:
            if heals(error):
                self.close()
            raise

    def _begin(self, cursor: Cursor[Any]) -> None:
        limits = sql.SQL(query("begin_transaction"))
        role = sql.SQL("SET LOCAL ROLE {};\n").format(sql.Identifier(self._role))
        try:
            cursor.execute(role + limits if self._role else limits)
        except DataError as error:
            # A role that does not exist: no record is at fault.
            raise ProgrammingError(str(error)) from error

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """Give up what takes longer than an answer may: a frozen server never gives one."""
        timer = threading.Timer(_ANSWER_SECONDS, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def abandon(self) -> None:
        """Make whatever waits for the database fail, and all that comes after. For any thread.

        The server may still commit what was on its way: who reads those records again finds it.
        """
        self._abandoned = True
        self._cut()

    def _cut(self) -> None:
        connection = self._connection
        # The driver does not let two threads use a connection; the kernel does.
        with contextlib.suppress(OSError, Error):
            if connection is not None:
                with socket.socket(fileno=os.dup(connection.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Drop the connection; the next use makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> Connection[tuple[Any, ...]]:
        if self._abandoned:
            raise OperationalError("the consumer stops")
        if self._connection is None:
            self._connection = connect(self._url, _application(), autocommit=True)
        return self._connection


def _refused(decided: Decided, error: DataError | IntegrityError | ProgramLimitExceeded) -> Outcome:
    parked = Parked(Reason.UNSTORABLE, f"PostgreSQL refused the row: {error.sqlstate}")
    return Outcome(Decided(decided.record, parked), OutcomeKind.PARKED, parked.reason)


def _application() -> str:
    """Say which migrations this member knows: what it asks by stays while it is connected."""
    return f"billing-consumer-{newest()}"
