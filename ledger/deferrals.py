"""Deferred calls by hand: listed, found by any of their names, decided. Raises `LedgerError`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from psycopg.rows import class_row, dict_row

from charging.origin import DEFAULT_SOURCE
from charging.settlement import Event, State, moved, state_of
from ledger.address import connect
from ledger.listing import listing_of
from ledger.queries import query
from runtime.rows import Listing

_LARGEST: Final = 2**63 - 1
_PART: Final = 1_000


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
    callback: bytes | None = None
    """The fields of it that billing reads; None where they were not kept."""
    received_at: datetime | None = None
    """When the gateway took it; None as above."""


@dataclass(frozen=True, slots=True)
class Suggested:
    """An open deferral whose callback suggests a cost."""

    id: int
    call_key: str
    model: str | None
    reason: str
    cost_usd: Decimal
    age: timedelta


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

    def suggested(self) -> Iterator[Suggested]:
        """Yield the open deferrals with a suggested cost, the oldest first."""
        after = 0
        with self._connection.cursor(row_factory=class_row(Suggested)) as cursor:
            while found := cursor.execute(
                query("list_suggested"), {"after": after, "limit": _PART}
            ).fetchall():
                yield from found
                after = found[-1].id

    def history(self, call: OpenCall, limit: int) -> Listing:
        """Return what became of a deferral, the oldest step first."""
        cursor = self._connection.cursor(row_factory=dict_row)
        asked = {"id": call.id, "limit": limit}
        return listing_of(cursor.execute(query("list_transitions"), asked))

    def any_of(self, name: str) -> OpenCall:
        """Return the one deferral that `name` means, open or not: its number, call key or an id.

        Raises `SettlementError` when there is none, or several.
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
        return found[0]

    def find(self, name: str, event: Event) -> OpenCall:
        """Return the one deferral that `name` means, to which `event` may happen.

        Raises `SettlementError` when there is none, several, or it is closed already.
        """
        call = self.any_of(name)
        if moved(call.resolution, event) is not None:
            return call
        if state_of(call.resolution) is State.OPEN:
            raise SettlementError(f"call {call.id} is open: no charge has come; settle or waive it")
        if state_of(call.resolution) is State.REOPENED:
            raise SettlementError(
                f"call {call.id} has a receipt, which came behind its waiver: accept the charge, "
                "or waive it again"
            )
        raise SettlementError(f"call {call.id} is already closed: {call.resolution}")

    def decide(self, call: OpenCall, event: Event, by: str, note: str) -> str:
        """Close a deferral without a receipt, or what a charge has reopened; return how.

        Raises `SettlementError` when someone was faster.
        """
        resolution = moved(call.resolution, event)
        statement = "waive_deferred" if call.resolution is None else "decide_reopened"
        given = {"id": call.id, "resolution": resolution, "by": by, "note": note}
        changed = resolution and self._connection.execute(query(statement), given).rowcount
        if not changed:
            raise SettlementError(f"call {call.id} was closed in the meantime")
        return str(resolution)


def _number(name: str) -> int | None:
    """Return the number of a deferral that `name` is as PostgreSQL would write it."""
    number = int(name) if name.isascii() and name.isdecimal() else None
    return number if number is not None and number <= _LARGEST and str(number) == name else None
