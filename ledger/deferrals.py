"""Deferred calls by hand: listed, found by any of their names, waived. Raises `LedgerError`."""

from dataclasses import dataclass
from typing import Final

from psycopg.rows import class_row, dict_row

from charging.origin import DEFAULT_SOURCE
from charging.outcomes import Resolution
from ledger.address import connect
from ledger.listing import listing_of
from ledger.queries import query
from runtime.rows import Listing

_LARGEST: Final = 2**63 - 1


class SettlementError(Exception):
    """The deferral cannot be settled so; the text says what to do."""


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A deferred call, as far as its settlement needs it."""

    id: int
    call_key: str
    run_id: str
    kafka_topic: str
    kafka_partition: int
    kafka_offset: int
    resolution: str | None
    source_system: str = DEFAULT_SOURCE
    kafka_topic_id: str | None = None
    """Of the topic in which its callback stood; None where that was not kept yet."""


class Deferrals:
    """Deferred calls, as somebody looks at them and closes them by hand.

    Args:
        database_url: of the ledger.
    """

    def __init__(self, database_url: str) -> None:
        self._connection = connect(database_url, "billing-operator", autocommit=True)

    def close(self) -> None:
        """Drop the connection."""
        self._connection.close()

    def listed(self, *, settled: bool, waiting: bool, limit: int) -> Listing:
        """Return the oldest deferred calls, by the names of what is shown.

        Of those that are `settled` as well, and of what is `waiting` for another callback since
        today.
        """
        cursor = self._connection.cursor(row_factory=dict_row)
        chosen = {"settled": settled, "waiting": waiting, "limit": limit}
        return listing_of(cursor.execute(query("list_deferred"), chosen))

    def find(self, name: str) -> OpenCall:
        """Return the one open deferral that `name` means: its number, call key or an id.

        Raises `SettlementError` when there is none, several, or it is settled already.
        """
        asked = {"name": name, "number": _number(name)}
        with self._connection.cursor(row_factory=class_row(OpenCall)) as cursor:
            found = cursor.execute(query("find_deferred"), asked).fetchall()
        if not found:
            raise SettlementError(f"no deferred call {name!r}; see `deferred list`")
        if len(found) > 1:
            numbers = ", ".join(str(call.id) for call in found)
            raise SettlementError(
                f"{name!r} means several deferred calls; give the number of one: {numbers}"
            )
        call = found[0]
        if call.resolution is not None:
            raise SettlementError(f"call {call.id} is already closed: {call.resolution}")
        return call

    def waive(self, call: OpenCall, by: str, note: str) -> None:
        """Close a deferral without a receipt. Raises `SettlementError` when someone was faster."""
        given = {"id": call.id, "resolution": Resolution.WAIVED, "by": by, "note": note}
        changed = self._connection.execute(query("waive_deferred"), given).rowcount
        if not changed:
            raise SettlementError(f"call {call.id} was closed in the meantime")


def _number(name: str) -> int | None:
    """Return the number of a deferral that `name` is as PostgreSQL would write it."""
    number = int(name) if name.isascii() and name.isdecimal() else None
    return number if number is not None and number <= _LARGEST and str(number) == name else None
