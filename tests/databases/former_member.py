"""A member of release 0.2.0 at a ledger: its statements word for word, and its rows."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, LiteralString

import pytest
from psycopg import Cursor

from ledger.plan import Plan
from ledger.queries import query
from ledger.rows import RECEIPT_TYPES, deferred_row, receipt_row

_FORMER: Final[dict[str, LiteralString]] = {
    file.stem: file.read_text("utf-8")
    for file in (Path(__file__).parent / "former_sql").glob("*.sql")
}
_OF_RECEIPT: Final = 20
"""How many columns a receipt had; those behind them were its details."""
_OF_DETAILS: Final = 38
"""Up to where they were; what stands behind that was not kept yet."""
_DEFERRED_TYPES: Final = (
    "int4", "text", "text", "text", "text", "text", "numeric",
    "text", "text", "text", "int8", "int8", "text", "int4", "int8",
    "timestamptz", "text", "text", "jsonb", "text", "text",
)  # fmt: skip
"""Of the columns that a deferred call had: the first ones of today's."""


@contextmanager
def former_release() -> Iterator[None]:
    """Whatever writes receipts in this process does it as release 0.2.0, until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ledger.apply.query", _query)
        patch.setattr("ledger.receipts.query", _query)
        patch.setattr("ledger.receipts._application", lambda: "billing-consumer")
        patch.setattr("ledger.apply._create", _create)
        patch.setattr("ledger.apply._defer", _defer)
        patch.setattr("ledger.apply.debit", _debit)
        yield


def _query(name: str) -> LiteralString:
    return _FORMER[name] if name in _FORMER else query(name)


def _debit(*_: object) -> None:
    """It knew no credits."""


def _create(cursor: Cursor[Any], planned: Plan, number: int | None, *, seals: bool) -> None:  # noqa: ARG001 - it knew none
    rows = [receipt_row(record, charge, number) for record, charge in planned.receipts]
    receipts = (row[:_OF_RECEIPT] for row in rows)
    _copy(cursor, "copy_receipts", RECEIPT_TYPES[:_OF_RECEIPT], receipts)
    details = ((row[0], *row[_OF_RECEIPT:_OF_DETAILS]) for row in rows)
    _copy(cursor, "copy_details", ("uuid", *RECEIPT_TYPES[_OF_RECEIPT:_OF_DETAILS]), details)


def _defer(cursor: Cursor[Any], planned: Plan) -> set[int]:
    rows = (
        deferred_row(
            ordinal,
            planned.batch[ordinal].record,
            deferred,
            planned.settlements.get((deferred.source_system, deferred.call_key)),
        )
        for ordinal, deferred in planned.deferrals.items()
    )
    cursor.execute(_query("create_incoming"))
    kept = (tuple(row.values())[: len(_DEFERRED_TYPES)] for row in rows)
    _copy(cursor, "copy_deferred", _DEFERRED_TYPES, kept)
    return {ordinal for (ordinal,) in cursor.execute(_query("insert_deferred"))}


def _copy(
    cursor: Cursor[Any], name: str, types: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    with cursor.copy(_query(name)) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
