"""The merge: what a batch's decisions become in the ledger, within the caller's transaction.

New receipts go straight into their tables. Everything else is told by what the ledger knows of the
batch's calls, asked once: CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID, a receipt's id follows from its
call.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec
from msgspec.structs import replace
from psycopg import Cursor
from psycopg.rows import dict_row

from charging.charge import SETTLED_COST_SOURCE
from charging.doubles import POSSIBLE_DOUBLE, Success, doubles
from charging.outcomes import Charge, Decided, Deferred, Outcome, Parked, Settlement, Skipped, Usage
from ledger.links import close, pair
from ledger.queries import query
from ledger.rows import (
    DEFERRED_TYPES,
    DETAIL_TYPES,
    RECEIPT_TYPES,
    conflict_row,
    deferred_row,
    detail_row,
    receipt_row,
    usage_row,
)
from schemas.receipt import Receipt
from schemas.record import Place, Record

_Call: TypeAlias = tuple[str, str]
_Charges: TypeAlias = Mapping[int, tuple[Record, Charge]]

_FEW: Final = 100
"""Receipts of a batch that are compared with the ledger as well."""


class _Standing(msgspec.Struct, frozen=True):
    """The receipt of a call, written before or with this batch: from which record, saying what."""

    place: Place
    content_hash: str
    cost_source: str


def merge(cursor: Cursor[Any], batch: Sequence[Decided]) -> list[Outcome]:
    """Write a batch, once a transaction, and say, record for record, what became of it.

    Raises `psycopg.errors.UniqueViolation` when another member wrote one of its calls in the same
    moment: asked again, the ledger knows that call.
    """
    outcomes: dict[int, Outcome] = {}
    charges: dict[int, tuple[Record, Charge]] = {}
    deferrals: dict[int, tuple[Record, Deferred]] = {}
    paired = pair(cursor, batch)
    batch = paired.batch
    for ordinal, decided in enumerate(batch):
        match decided.decision:
            case Charge() as charge:
                charges[ordinal] = (decided.record, charge)
            case Deferred() as deferred:
                deferrals[ordinal] = (decided.record, deferred)
            case Skipped(reason):
                outcomes[ordinal] = Outcome(decided, "skipped", reason)
            case Parked(reason):
                outcomes[ordinal] = Outcome(decided, "parked", reason)
            case Usage() as usage:
                cursor.execute(query("insert_usage_unit"), usage_row(decided.record, usage))
                outcomes[ordinal] = Outcome(decided, "unit", "new" if cursor.rowcount else "known")
    standing = _charge(cursor, batch, charges, outcomes) if charges else {}
    deferrals |= {
        ordinal: (batch[ordinal].record, birth) for ordinal, birth in paired.births.items()
    }
    if deferrals:
        _defer(cursor, batch, deferrals, _settlements(charges, standing), outcomes)
    if paired.closings:
        close(cursor, paired.closings)
    return [outcomes[ordinal] for ordinal in range(len(batch))]


def _charge(
    cursor: Cursor[Any],
    batch: Sequence[Decided],
    charges: dict[int, tuple[Record, Charge]],
    outcomes: dict[int, Outcome],
) -> dict[_Call, _Standing]:
    """Create the receipts that are missing, judge the repeats; the receipts of all calls."""
    standing = _find(cursor, charges)
    fresh: dict[_Call, int] = {}
    for ordinal, (_, charge) in charges.items():
        if (call := _call(charge)) not in standing:
            fresh.setdefault(call, ordinal)
    _mark_doubles(cursor, charges, list(fresh.values()))
    _create(cursor, [charges[ordinal] for ordinal in fresh.values()])
    for call, ordinal in fresh.items():
        receipt = charges[ordinal][1].receipt
        standing[call] = _standing(*charges[ordinal])
        outcomes[ordinal] = Outcome(batch[ordinal], "created", receipt.charge_reason, receipt)
    if awaited := _awaited(cursor, charges):
        _resolve(cursor, charges, standing, awaited)
    if len(fresh) < len(charges):
        _judge_repeats(cursor, batch, charges, standing, outcomes)
    return standing


def _mark_doubles(
    cursor: Cursor[Any], charges: dict[int, tuple[Record, Charge]], fresh: Sequence[int]
) -> None:
    """Mark the fresh receipts that may be doubles, in place in `charges`.

    A large batch is compared with itself only: the callbacks of one request come together, and the
    question to the ledger would cost as much as the search for receipts.
    """
    receipts = [charges[ordinal][1].receipt for ordinal in fresh]
    known: list[Success] = []
    calls = [receipt.litellm_call_id for receipt in receipts if receipt.litellm_call_id]
    if 0 < len(calls) <= _FEW:
        asked = cursor.execute(query("find_successes"), {"calls": _listed(calls)})
        known = [Success(*row) for row in asked]
    for ordinal in fresh if (found := doubles(receipts, known)) else ():
        record, charge = charges[ordinal]
        if charge.receipt.id in found:
            marks = sorted([*charge.receipt.marks, POSSIBLE_DOUBLE])
            marked = replace(charge, receipt=replace(charge.receipt, marks=marks))
            charges[ordinal] = (record, marked)


def _standing(record: Record, charge: Charge) -> _Standing:
    return _Standing(record.place, charge.content_hash, charge.receipt.cost_source)


def _call(charge: Charge) -> _Call:
    return (charge.receipt.source_system, charge.receipt.call_key)


def _find(cursor: Cursor[Any], charges: _Charges) -> dict[_Call, _Standing]:
    """Return the receipts that these calls have already."""
    ids = [charge.receipt.id for _, charge in charges.values()]
    found = cursor.execute(query("find_receipts"), {"ids": _listed(ids)})
    return {
        (source, key): _Standing((topic, partition, offset), content_hash, cost_source)
        for source, key, topic, partition, offset, content_hash, cost_source in found
    }


def _awaited(cursor: Cursor[Any], charges: _Charges) -> set[_Call]:
    """Return calls whose deferral is open; those of `charges` are all among them."""
    receipts = [charge.receipt for _, charge in charges.values()]
    asked = {
        "sources": list({receipt.source_system for receipt in receipts}),
        "keys": _listed([receipt.call_key for receipt in receipts]),
    }
    return set(cursor.execute(query("find_awaited"), asked))


def _listed(values: Sequence[str] | Sequence[UUID]) -> str:
    """Return a list as a parameter; of an array, psycopg would write each element in Python."""
    return msgspec.json.encode(values).decode()


def _create(cursor: Cursor[Any], fresh: Sequence[tuple[Record, Charge]]) -> None:
    # In the order of their ids, so that two members which meet on the same calls cannot deadlock.
    created = sorted(fresh, key=lambda each: each[1].receipt.id.int)
    if created:
        rows = (receipt_row(record, charge) for record, charge in created)
        _copy(cursor, "copy_receipts", RECEIPT_TYPES, rows)
        details = (detail_row(charge) for _, charge in created)
        _copy(cursor, "copy_details", DETAIL_TYPES, details)


def _copy(
    cursor: Cursor[Any], name: str, types: Sequence[str], rows: Iterable[tuple[Any, ...]]
) -> None:
    with cursor.copy(query(name)) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def _settlements(
    charges: _Charges, standing: Mapping[_Call, _Standing]
) -> dict[_Call, Settlement | None]:
    """Who set the cost of a receipt by hand, where the record that wrote it is in this batch.

    The receipt says how a deferral was settled, not the record in hand: that may be a repeat, or a
    person's cost for a call that had its receipt already.
    """
    return {
        call: charge.settlement
        for record, charge in charges.values()
        if charge.settlement and standing[call := _call(charge)].place == record.place
    }


def _resolve(
    cursor: Cursor[Any],
    charges: _Charges,
    standing: Mapping[_Call, _Standing],
    awaited: AbstractSet[_Call],
) -> None:
    calls = {
        call: standing[call] for _, charge in charges.values() if (call := _call(charge)) in awaited
    }
    settlements = _settlements(charges, standing)
    settled = [settlements.get(call) for call in calls]
    operator = SETTLED_COST_SOURCE
    given = {
        "sources": [source for source, _ in calls],
        "keys": [key for _, key in calls],
        "resolutions": [
            "settled" if receipt.cost_source == operator else "callback"
            for receipt in calls.values()
        ],
        "by": [settlement and settlement.by for settlement in settled],
        "notes": [settlement and settlement.note for settlement in settled],
    }
    cursor.execute(query("resolve_deferred"), given)


def _judge_repeats(
    cursor: Cursor[Any],
    batch: Sequence[Decided],
    charges: _Charges,
    standing: Mapping[_Call, _Standing],
    outcomes: dict[int, Outcome],
) -> None:
    """Tell replays, duplicates and conflicts apart; conflicts are kept aside.

    A replay is read by the very record that wrote the receipt before a crash: its event has to go
    out again, as the ledger has it.
    """
    replayed: dict[int, UUID] = {}
    conflicts: list[dict[str, Any]] = []
    for ordinal, (record, charge) in charges.items():
        if ordinal in outcomes:
            continue
        receipt = standing[_call(charge)]
        if receipt.place == record.place:
            replayed[ordinal] = charge.receipt.id
        elif receipt.content_hash == charge.content_hash:
            outcomes[ordinal] = Outcome(batch[ordinal], "duplicate", "receipt")
        else:
            outcomes[ordinal] = Outcome(batch[ordinal], "conflict", "content")
            conflicts.append(conflict_row(record, charge, receipt.content_hash))
    if conflicts:
        conflicts.sort(key=lambda row: (row["source_system"], row["call_key"]))
        cursor.executemany(query("insert_conflict"), conflicts)
    receipts = _read_receipts(cursor, list(replayed.values())) if replayed else {}
    for ordinal, id_ in replayed.items():
        outcomes[ordinal] = Outcome(batch[ordinal], "duplicate", "replayed", receipts[id_])


def _read_receipts(cursor: Cursor[Any], ids: Sequence[UUID]) -> dict[UUID, Receipt]:
    with cursor.connection.cursor(row_factory=dict_row) as reader:
        rows = reader.execute(query("read_receipts"), {"ids": ids}).fetchall()
    return {row["id"]: msgspec.convert(row, Receipt) for row in rows}


def _defer(
    cursor: Cursor[Any],
    batch: Sequence[Decided],
    deferrals: Mapping[int, tuple[Record, Deferred]],
    settlements: Mapping[_Call, Settlement | None],
    outcomes: dict[int, Outcome],
) -> None:
    rows = (
        deferred_row(
            ordinal, record, deferred, settlements.get((deferred.source_system, deferred.call_key))
        )
        for ordinal, (record, deferred) in deferrals.items()
    )
    cursor.execute(query("create_incoming"))
    _copy(cursor, "copy_deferred", DEFERRED_TYPES, rows)
    opened = {ordinal for (ordinal,) in cursor.execute(query("insert_deferred"))}
    for ordinal, (_, deferred) in deferrals.items():
        outcome, reason = (
            ("deferred", deferred.reason) if ordinal in opened else ("duplicate", "deferred")
        )
        # A create that made the receipt of its result has its outcome.
        outcomes.setdefault(ordinal, Outcome(batch[ordinal], outcome, reason))
