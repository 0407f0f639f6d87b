"""The ledger: one PostgreSQL transaction a batch, receipts created once and never changed."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, LiteralString

import structlog
from psycopg import Connection, Cursor, DataError, Error, IntegrityError, OperationalError, sql
from psycopg.errors import UniqueViolation

from consumer import metrics, positions
from consumer.gap import Known
from consumer.merge import merge
from consumer.queries import query
from consumer.record import UNSTORABLE, Decided, Outcome, Parked, Published

log = structlog.get_logger("consumer")

_ATTEMPTS: Final = 3
"""How often a batch may meet another member that writes one of its calls in the same moment."""


class Ledger:
    """Writes batches. Not safe for threads; reconnects by itself after `OperationalError`."""

    def __init__(self, database_url: str, role: str) -> None:
        self._url = database_url
        self._role = role
        self._connection: Connection[tuple[Any, ...]] | None = None

    def write(self, batch: Sequence[Decided], published: Sequence[Published] = ()) -> list[Outcome]:
        """Write a batch in one transaction and say, record for record, what became of it.

        `published` is remembered with it: up to where the partitions are written afterwards, and
        had been published before. Raises `LedgerBehindError`, with nothing of that remembered,
        where the ledger had known less than the group has committed.
        On return the transaction is committed (synchronously durable as far as the server is
        configured to). Raises `psycopg.OperationalError` when nothing is known to be written:
        writing the same batch again is then right and harmless. A record that PostgreSQL refuses
        for its content is parked; its neighbours are written. Raises any other `psycopg.Error`
        where the fault is the installation's, such as a role that does not exist.
        """
        connection = self._connect()
        refusal: DataError | IntegrityError | None = None
        for _ in range(_ATTEMPTS):
            try:
                return self._write(connection, batch, published)
            except UniqueViolation as error:
                # Another member has just written one of these calls: now it is there to be found.
                metrics.RETRIES.labels("postgresql").inc()
                refusal = error
            except (DataError, IntegrityError) as error:
                refusal = error
                break
        if len(batch) == 1 and refusal:
            if published:
                self.remember(published)
            return [_refused(batch[0], refusal)]
        middle = len(batch) // 2
        # With the last part, as only then all of it is written.
        return self.write(batch[:middle]) + self.write(batch[middle:], published)

    def _write(
        self,
        connection: Connection[tuple[Any, ...]],
        batch: Sequence[Decided],
        published: Sequence[Published],
    ) -> list[Outcome]:
        try:
            with connection.transaction(), connection.cursor() as cursor:
                positions.remember(cursor, published)
                return merge(cursor, batch)
        except OperationalError:
            self.close()
            raise

    def takes(self, decided: Decided) -> bool:
        """Say whether the tables take a decided record; leaves no trace of it.

        Raises `psycopg.OperationalError` unless the database answers.
        """
        connection = self._connect()
        try:
            with connection.transaction(force_rollback=True), connection.cursor() as cursor:
                merge(cursor, [decided])
        except (DataError, IntegrityError) as error:
            log.warning("the tables refuse the sample", detail=str(error).strip()[:300])
            return False
        except OperationalError:
            self.close()
            raise
        return True

    def remember(self, published: Sequence[Published]) -> None:
        """Write down up to where partitions are written and published.

        Raises `LedgerBehindError`, and `psycopg.OperationalError` unless the database answers.
        """
        with self._transaction() as cursor:
            positions.remember(cursor, published)

    def known(
        self, group: str, places: Collection[tuple[str, int]]
    ) -> dict[tuple[str, int], Known]:
        """Return up to where partitions are written and published, as far as that is known.

        Raises `psycopg.OperationalError` unless the database answers.
        """
        with self._transaction() as cursor:
            return positions.known(cursor, group, places)

    def move(self, group: str, moves: Sequence[positions.Move]) -> list[positions.Move]:
        """Have partitions read on from elsewhere; see `positions.move`.

        Raises `psycopg.OperationalError` unless the database answers.
        """
        with self._transaction() as cursor:
            return positions.move(cursor, group, moves)

    def ping(self) -> None:
        """Raise `psycopg.OperationalError` unless the database answers."""
        self._ask("SELECT 1")

    def open_deferred(self) -> tuple[int, float]:
        """Return the number of open deferrals and the age of the oldest in seconds.

        Raises `psycopg.OperationalError` unless the database answers.
        """
        row = self._ask(query("open_deferred"))
        return (int(row[0]), float(row[1])) if row else (0, 0.0)

    @contextmanager
    def _transaction(self) -> Iterator[Cursor[Any]]:
        try:
            connection = self._connect()
            with connection.transaction(), connection.cursor() as cursor:
                yield cursor
        except OperationalError:
            self.close()
            raise

    def _ask(
        self, question: LiteralString, values: Mapping[str, Any] | None = None
    ) -> tuple[Any, ...] | None:
        try:
            cursor = self._connect().execute(question, values)
            return cursor.fetchone() if cursor.description else None
        except OperationalError:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection; the next use makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> Connection[tuple[Any, ...]]:
        if self._connection is None:
            connection = Connection.connect(
                self._url, autocommit=True, connect_timeout=5, application_name="billing-consumer"
            )
            try:
                if self._role:
                    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self._role)))
                connection.execute(query("begin_session"))
                connection.execute(query("create_incoming"))
            except Error:
                connection.close()
                raise
            self._connection = connection
        return self._connection


def _refused(decided: Decided, error: DataError | IntegrityError) -> Outcome:
    parked = Parked(UNSTORABLE, f"PostgreSQL refused the row: {error.sqlstate}")
    return Outcome(Decided(decided.record, parked), "parked", parked.reason)
