"""Applying a batch: asks what the ledger knows of it, has it planned, and writes the plan.

All within the caller's transaction. New receipts go straight into their table; everything else is
told by what the ledger knows of the batch's calls, asked once (`plan`).
CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID: a receipt's id follows from its call.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import Cursor
from psycopg.rows import dict_row

from charging.doubles import Success
from charging.outcomes import Charge, Decided, Outcome
from charging.pairing import Closing, Row
from ledger.debits import CreditTerms, debit, new_batch, unused
from ledger.links import Link, Paired, calls_of, pair, told, with_settled
from ledger.payers import accounts_of
from ledger.plan import (
    Call,
    Existing,
    Plan,
    Resolved,
    Written,
    compare,
    draft,
    outcomes,
    plan,
    resolved,
)
from ledger.queries import listed, query
from ledger.rows import RECEIPT_TYPES, deferred_row, receipt_row, usage_row
from ledger.runs import accounts_of_runs
from ledger.seals import digest_of, seal
from schemas.receipt import Receipt, receipt_id

_SEPARATOR: Final = "\x1f"


def apply(
    cursor: Cursor[Any],
    batch: Sequence[Decided],
    terms: CreditTerms | None,
    *,
    seals: bool = True,
) -> list[Outcome]:
    """Write a batch, once a transaction, and say, record for record, what became of it.

    Its new receipts are debited by `terms`; None has no credits moved. `seals`: they are sealed.

    Raises `psycopg.errors.UniqueViolation` when another member wrote one of its calls in the same
    moment: asked again, the ledger knows that call.
    """
    drafted = draft(_paired(cursor, batch))
    ids = [charge.receipt.id for charge in drafted.charges.values()]
    compared = compare(drafted, _existing(cursor, ids) if ids else {})
    requests, runs = compared.requests, compared.runs
    units = drafted.units.values()
    accounts = accounts_of(units, accounts_of_runs(cursor, runs)) if runs else {}
    planned = plan(compared, _successes(cursor, requests) if requests else (), accounts)
    return outcomes(planned, _write(cursor, planned, terms, seals=seals))


def _write(
    cursor: Cursor[Any], planned: Plan, terms: CreditTerms | None, *, seals: bool
) -> Written:
    number = new_batch() if terms else None
    units = _keep_units(cursor, planned) if planned.units else set[int]()
    if planned.receipts:
        _create(cursor, planned, number, seals=seals)
    if planned.calls:
        # As late as can be: another member may have deferred one of them meanwhile.
        closed = resolved(planned, _unsettled(cursor, planned.calls.values()))
        if closed:
            _resolve(cursor, closed)
    if planned.conflicts:
        cursor.executemany(query("insert_conflict"), planned.conflicts)
    replayed = _replayed(cursor, list(planned.replays.values())) if planned.replays else {}
    deferrals = _defer(cursor, planned) if planned.deferrals else set[int]()
    if planned.closings:
        _close(cursor, planned.closings)
    if terms and number is not None:
        charges = [charge for _, charge in planned.receipts]
        debit(cursor, charges, unused(planned.batch), number, terms)
    return Written(units, deferrals, replayed)


def _paired(cursor: Cursor[Any], batch: Sequence[Decided]) -> Paired:
    """Judge what a batch tells of background responses, with what the ledger knows of them.

    Until the transaction ends nobody else does so for the same ones, and nobody settles or waives
    them by hand: two members that each hold one callback of a response would both let it wait.
    """
    said = told(batch)
    links = said.links
    if said.settled:
        asked = {"keys": [key for _, key in said.settled.values()]}
        links = with_settled(said, cursor.execute(query("find_links_of_calls"), asked))
    if not links:
        return Paired(batch)
    cursor.execute(
        query("lock_links"), {"links": [_SEPARATOR.join(link) for link in links.values()]}
    )
    rows = _linked(cursor, dict.fromkeys(links.values()))
    calls = calls_of(batch, links, rows)
    existing = _existing(cursor, [receipt_id(source, key) for source, key in calls])
    return pair(batch, links, rows, {call: one.provenance for call, one in existing.items()})


def _linked(cursor: Cursor[Any], links: Collection[Link]) -> dict[Link, list[Row]]:
    rows: dict[Link, list[Row]] = {link: [] for link in links}
    asked = {"links": [digest for _, digest in links]}
    for source, digest, *found, held, resolution, result_key in cursor.execute(
        query("find_links"), asked
    ):
        if (source, digest) in rows:
            call_key, reason, *provenance = found
            charge = msgspec.convert(held, Charge) if held else None
            row = Row(call_key, reason, tuple(provenance), charge, resolution, result_key)
            rows[source, digest].append(row)
    return rows


def _existing(cursor: Cursor[Any], ids: Sequence[UUID]) -> dict[Call, Existing]:
    """Return the receipts of these ids, by their calls."""
    found = cursor.execute(query("find_receipts"), {"ids": listed(ids)})
    return {
        (source, key): Existing((topic, partition, offset), *said)
        for source, key, topic, partition, offset, *said in found
    }


def _successes(cursor: Cursor[Any], requests: Sequence[str]) -> list[Success]:
    asked = cursor.execute(query("find_successes"), {"calls": listed(requests)})
    return [Success(*row) for row in asked]


def _unsettled(cursor: Cursor[Any], calls: Collection[Call]) -> dict[Call, str | None]:
    """Return calls whose deferral is open or written off, each with its resolution.

    Those of `calls` are all among them.
    """
    asked = {
        "sources": list({source for source, _ in calls}),
        "keys": listed([key for _, key in calls]),
    }
    found = cursor.execute(query("find_unsettled_deferrals"), asked)
    return {(source, key): resolution for source, key, resolution in found}


def _replayed(cursor: Cursor[Any], ids: Sequence[UUID]) -> dict[UUID, Receipt]:
    with cursor.connection.cursor(row_factory=dict_row) as reader:
        rows = reader.execute(query("read_receipts"), {"ids": ids}).fetchall()
    return {row["id"]: msgspec.convert(row, Receipt) for row in rows}


def _keep_units(cursor: Cursor[Any], planned: Plan) -> set[int]:
    """Keep the usage units; return the ordinals of the new ones.

    In the order of their runs, as whatever else locks runs does: members that meet on some cannot
    deadlock.
    """
    new: set[int] = set()
    for ordinal, usage in sorted(planned.units.items(), key=lambda each: each[1].unit.run_id):
        row = usage_row(planned.batch[ordinal].record, usage)
        cursor.execute(query("insert_usage_unit"), row)
        if cursor.rowcount:
            new.add(ordinal)
            if usage.unit.run_completed:
                cursor.execute(query("complete_run"), row)
    return new


def _create(cursor: Cursor[Any], planned: Plan, number: int | None, *, seals: bool) -> None:
    rows = (receipt_row(record, charge, number) for record, charge in planned.receipts)
    if not seals:
        return _copy(cursor, rows)
    digests = list[bytes]()
    _copy(cursor, _digested(rows, digests))
    return seal(cursor, "receipts", digests)


def _copy(cursor: Cursor[Any], rows: Iterable[tuple[Any, ...]]) -> None:
    with cursor.copy(query("copy_receipts")) as copy:
        copy.set_types(RECEIPT_TYPES)
        for row in rows:
            copy.write_row(row)


def _digested(rows: Iterable[tuple[Any, ...]], digests: list[bytes]) -> Iterator[tuple[Any, ...]]:
    """Yield rows, and leave the digest of each."""
    for row in rows:
        digests.append(digest_of("receipts", row))
        yield row


def _resolve(cursor: Cursor[Any], closed: Sequence[Resolved]) -> None:
    given: Mapping[str, list[str | None]] = {
        "sources": [one.call[0] for one in closed],
        "keys": [one.call[1] for one in closed],
        "former": [one.former for one in closed],
        "resolutions": [one.resolution for one in closed],
        "by": [one.settlement.by if one.settlement else None for one in closed],
        "notes": [one.settlement.note if one.settlement else None for one in closed],
    }
    cursor.execute(query("resolve_deferred"), given)


def _defer(cursor: Cursor[Any], planned: Plan) -> set[int]:
    """Open the deferrals; return the ordinals of the new ones."""
    rows = [
        deferred_row(
            ordinal,
            planned.batch[ordinal].record,
            deferred,
            planned.settlements.get((deferred.source_system, deferred.call_key)),
        )
        for ordinal, deferred in planned.deferrals.items()
    ]
    return {
        ordinal for (ordinal,) in cursor.execute(query("insert_deferred"), {"rows": listed(rows)})
    }


def _close(cursor: Cursor[Any], closings: Sequence[Closing]) -> None:
    """Close creates that have their result, and say which it is."""
    columns = zip(*closings, strict=True)
    names = ("sources", "keys", "resolutions", "results")
    cursor.execute(query("close_linked"), dict(zip(names, map(list, columns), strict=True)))
