"""What the ledger knows of a call, by any of its names. Reads only. Raises `LedgerError`."""

from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from uuid import UUID

from psycopg import Connection, errors
from psycopg.rows import dict_row

from ledger.address import connect
from ledger.queries import query
from schemas.receipt import receipt_id

Row: TypeAlias = dict[str, Any]
Place: TypeAlias = tuple[str, int]

_SEARCH: Final = "deferred calls by their ids"


@dataclass(frozen=True, slots=True)
class Books:
    """The rows that a name means, of each table the oldest first.

    `positions` says of partitions up to where the group's records are written. `unfinished` names
    what was not looked through to its end, because it took too long or had too many rows.
    """

    receipts: list[Row] = field(default_factory=list)
    deferrals: list[Row] = field(default_factory=list)
    conflicts: list[Row] = field(default_factory=list)
    units: list[Row] = field(default_factory=list)
    corrections: list[Row] = field(default_factory=list)
    positions: Mapping[Place, int] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)


def books_of(database_url: str, name: str, group: str, limit: int, seconds: float) -> Books:
    """Return what the ledger holds of `name`: a call key, an id, a receipt's id, or a run.

    At most `limit` rows of a table. No statement takes longer than `seconds`.
    """
    with closing(connect(database_url, "billing-explain", autocommit=True)) as connection:
        milliseconds = str(max(1, round(seconds * 1_000)))
        connection.execute("SELECT set_config('statement_timeout', %s, false)", [milliseconds])
        return _Looking(connection, limit).books(name, group)


class _Looking:
    def __init__(self, connection: Connection[tuple[Any, ...]], limit: int) -> None:
        self._connection = connection
        self._limit = limit
        self._unfinished = list[str]()

    def books(self, name: str, group: str) -> Books:
        sources = [row["source"] for row in self._rows("explain_sources")]
        asked: dict[str, Any] = {"name": name, "id": _uuid(name), "sources": sources}
        keys = {name, *self._deferral_keys(name)}
        receipts = self._receipts(asked, keys)
        deferrals = self._rows("explain_deferrals", asked, keys=sorted(keys))
        # A receipt was perhaps deferred first, and a create's deferral names its result.
        keys |= {row["call_key"] for row in (*receipts, *deferrals)}
        keys |= {row["result_key"] for row in deferrals if row["result_key"]}
        deferrals = self._rows("explain_deferrals", asked, keys=sorted(keys))
        receipts = self._receipts(asked, keys)
        calls = {row["litellm_call_id"] for row in (*receipts, *deferrals)} - {None}
        return Books(
            receipts=receipts,
            deferrals=deferrals,
            conflicts=self._rows("explain_conflicts", asked, keys=sorted(keys)),
            units=self._rows("explain_units", asked, calls=sorted({name, *calls})),
            corrections=self._rows("explain_corrections", receipts=[one["id"] for one in receipts]),
            positions={
                (row["kafka_topic"], row["kafka_partition"]): row["next_offset"]
                for row in self._rows("explain_positions", {"group": group})
            },
            unfinished=sorted(set(self._unfinished)),
        )

    def _receipts(self, asked: dict[str, Any], keys: Collection[str]) -> list[Row]:
        """Return receipts by their names; those of calls by the ids that follow from these."""
        ids = [receipt_id(source, key) for source in asked["sources"] for key in sorted(keys)]
        given = [asked["id"]] if asked["id"] else []
        return self._rows("explain_receipts", {"name": asked["name"]}, ids=[*given, *ids])

    def _deferral_keys(self, name: str) -> set[str]:
        try:
            found = self._rows("explain_deferral_keys", {"name": name})
        except errors.QueryCanceled:
            self._unfinished.append(_SEARCH)
            return set()
        return {row["call_key"] for row in found}

    def _rows(
        self, statement: str, asked: dict[str, Any] | None = None, **more: object
    ) -> list[Row]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            given = {**(asked or {}), **more, "limit": self._limit + 1}
            rows = cursor.execute(query(statement), given).fetchall()
        if len(rows) > self._limit:
            self._unfinished.append(f"there are more than {self._limit} rows of a kind")
        return rows[: self._limit]


def _uuid(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
