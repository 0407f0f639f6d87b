"""The ledger: one PostgreSQL transaction a batch, receipts created once and never changed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from psycopg import (
    Connection,
    Cursor,
    DataError,
    Error,
    IntegrityError,
    OperationalError,
    sql,
)
from psycopg.rows import dict_row

from consumer.queries import query
from consumer.record import Charge, Decided, Deferred, Parked, Published, Skipped, Usage
from consumer.rows import (
    DEFERRED_COLUMNS,
    RECEIPT_COLUMNS,
    deferred_row,
    published_rows,
    receipt_row,
    usage_row,
)
from schemas.receipt import Receipt


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record.

    `outcome` is created, duplicate, conflict, deferred, skipped, parked or unit
    (NOTHING_VANISHES); `receipt` is there where its event has to be published.
    """

    decided: Decided
    outcome: str
    reason: str
    receipt: Receipt | None = None


class Ledger:
    """Writes batches. Not safe for threads; reconnects by itself after `OperationalError`."""

    def __init__(self, database_url: str, role: str) -> None:
        self._url = database_url
        self._role = role
        self._connection: Connection[tuple[Any, ...]] | None = None

    def write(self, batch: Sequence[Decided], published: Sequence[Published] = ()) -> list[Outcome]:
        """Write a batch in one transaction and say, record for record, what became of it.

        `published` is remembered with it: up to where the partitions had been published before.
        On return the transaction is committed (synchronously durable as far as the server is
        configured to). Raises `psycopg.OperationalError` when nothing is known to be written:
        writing the same batch again is then right and harmless. A record that PostgreSQL refuses
        for its content is parked; its neighbours are written. Raises any other `psycopg.Error`
        where the fault is the installation's, such as a role that does not exist.
        """
        connection = self._connect()
        try:
            return self._write(connection, batch, published)
        except (DataError, IntegrityError) as error:
            if len(batch) == 1:
                return [_refused(batch[0], error)]
        middle = len(batch) // 2
        return self.write(batch[:middle], published) + self.write(batch[middle:])

    def _write(
        self,
        connection: Connection[tuple[Any, ...]],
        batch: Sequence[Decided],
        published: Sequence[Published],
    ) -> list[Outcome]:
        try:
            with connection.transaction(), connection.cursor() as cursor:
                if published:
                    cursor.execute(query("remember_published"), published_rows(published))
                return _merge(cursor, batch)
        except OperationalError:
            self.close()
            raise

    def remember(self, published: Sequence[Published]) -> None:
        """Write down up to where partitions are published.

        Raises `psycopg.OperationalError` unless the database answers.
        """
        self._ask(query("remember_published"), published_rows(published))

    def published(self, group: str, topic: str, partition: int) -> Published | None:
        """Return up to where a partition is known to be published; None when nothing is known.

        Raises `psycopg.OperationalError` unless the database answers.
        """
        place = {"group": group, "topic": topic, "partition": partition}
        row = self._ask(query("published"), place)
        return Published(group, topic, partition, row[0], row[1]) if row else None

    def ping(self) -> None:
        """Raise `psycopg.OperationalError` unless the database answers."""
        self._ask("SELECT 1")

    def open_deferred(self) -> tuple[int, float]:
        """Return the number of open deferrals and the age of the oldest in seconds.

        Raises `psycopg.OperationalError` unless the database answers.
        """
        row = self._ask(query("open_deferred"))
        return (int(row[0]), float(row[1])) if row else (0, 0.0)

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
    parked = Parked("unstorable", f"PostgreSQL refused the row: {error.sqlstate}")
    return Outcome(Decided(decided.record, parked), "parked", parked.reason)


def _copy(
    cursor: Cursor[Any], table: str, columns: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _merge(cursor: Cursor[Any], batch: Sequence[Decided]) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    charges: dict[int, Decided] = {}
    deferrals: dict[int, Decided] = {}
    for ordinal, decided in enumerate(batch):
        match decided.decision:
            case Charge():
                charges[ordinal] = decided
            case Deferred():
                deferrals[ordinal] = decided
            case Skipped(reason):
                outcomes[ordinal] = Outcome(decided, "skipped", reason)
            case Parked(reason):
                outcomes[ordinal] = Outcome(decided, "parked", reason)
            case Usage() as usage:
                cursor.execute(query("insert_usage_unit"), usage_row(decided.record, usage))
                outcomes[ordinal] = Outcome(decided, "unit", "new" if cursor.rowcount else "known")
    if charges:
        outcomes |= _merge_charges(cursor, charges)
    if deferrals:
        outcomes |= _merge_deferrals(cursor, deferrals)
    return [outcomes[ordinal] for ordinal in range(len(batch))]


def _merge_charges(cursor: Cursor[Any], charges: dict[int, Decided]) -> dict[int, Outcome]:
    rows = (
        receipt_row(ordinal, decided.record, decided.decision)
        for ordinal, decided in charges.items()
        if isinstance(decided.decision, Charge)
    )
    _copy(cursor, "incoming_receipts", RECEIPT_COLUMNS, rows)
    created = {ordinal for (ordinal,) in cursor.execute(query("insert_receipts"))}
    cursor.execute(query("resolve_deferred"))
    outcomes: dict[int, Outcome] = {}
    for ordinal in created:
        decided = charges[ordinal]
        if isinstance(decided.decision, Charge):
            receipt = decided.decision.receipt
            outcomes[ordinal] = Outcome(decided, "created", receipt.charge_reason, receipt)
    if len(created) < len(charges):
        outcomes |= _classify(cursor, charges, created)
    return outcomes


def _classify(
    cursor: Cursor[Any], charges: dict[int, Decided], created: set[int]
) -> dict[int, Outcome]:
    known = {"created": list(created)}
    found = cursor.execute(query("classify_receipts"), known).fetchall()
    if any(outcome == "conflict" for _, _, outcome in found):
        cursor.execute(query("insert_conflicts"))
    replayed = [receipt_id for _, receipt_id, outcome in found if outcome == "replayed"]
    receipts = _read_receipts(cursor, replayed) if replayed else {}
    outcomes: dict[int, Outcome] = {}
    for ordinal, receipt_id, outcome in found:
        if outcome == "replayed":
            receipt = receipts[receipt_id]
            outcomes[ordinal] = Outcome(charges[ordinal], "duplicate", "replayed", receipt)
        else:
            reason = "receipt" if outcome == "duplicate" else "content"
            outcomes[ordinal] = Outcome(charges[ordinal], outcome, reason)
    return outcomes


def _read_receipts(cursor: Cursor[Any], ids: Sequence[UUID]) -> dict[UUID, Receipt]:
    with cursor.connection.cursor(row_factory=dict_row) as reader:
        rows = reader.execute(query("read_receipts"), {"ids": list(ids)}).fetchall()
    return {row["id"]: Receipt.model_validate(row) for row in rows}


def _merge_deferrals(cursor: Cursor[Any], deferrals: dict[int, Decided]) -> dict[int, Outcome]:
    rows = (
        deferred_row(ordinal, decided.record, decided.decision)
        for ordinal, decided in deferrals.items()
        if isinstance(decided.decision, Deferred)
    )
    _copy(cursor, "incoming_deferred", DEFERRED_COLUMNS, rows)
    opened = {ordinal for (ordinal,) in cursor.execute(query("insert_deferred"))}
    outcomes: dict[int, Outcome] = {}
    for ordinal, decided in deferrals.items():
        if ordinal in opened and isinstance(decided.decision, Deferred):
            outcomes[ordinal] = Outcome(decided, "deferred", decided.decision.reason)
        else:
            outcomes[ordinal] = Outcome(decided, "duplicate", "deferred")
    return outcomes
