"""What waits in the ledger: background responses, of which one callback has come and another not.

A batch asks for it only when one of its records is about such a response, or settles a deferral.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec
from psycopg import Cursor

from charging.outcomes import Charge, Decided, Deferred, Skipped
from charging.pairing import Closing, Pairing, Row
from ledger.queries import query
from schemas.receipt import receipt_id
from schemas.record import Place

_Link: TypeAlias = tuple[str, str]
"""Source system and digest."""
_Call: TypeAlias = tuple[str, str]
_SEPARATOR: Final = "\x1f"


@dataclass(frozen=True, slots=True)
class Paired:
    """A batch whose background responses are judged, and what that changes in the ledger.

    `births` are creates, by ordinal, that need a row although their record makes a receipt.
    """

    batch: Sequence[Decided]
    births: Mapping[int, Deferred] = field(default_factory=dict)
    closings: Sequence[Closing] = ()


def pair(cursor: Cursor[Any], batch: Sequence[Decided]) -> Paired:
    """Judge what a batch tells of background responses, with what the ledger knows of them.

    Until the transaction ends nobody else does so for the same ones, and nobody settles or waives
    them by hand: two members that each hold one callback of a response would both let it wait.
    """
    links = _links(cursor, batch)
    if not links:
        return Paired(batch)
    cursor.execute(
        query("lock_links"), {"links": [_SEPARATOR.join(link) for link in links.values()]}
    )
    pairings = _pairings(cursor, links, batch)
    judged = list(batch)
    for ordinal, link in links.items():
        record, decision = batch[ordinal].record, batch[ordinal].decision
        judged[ordinal] = Decided(record, pairings[link].judge(ordinal, record.place, decision))
    births: dict[int, Deferred] = {}
    closings: list[Closing] = []
    for pairing in pairings.values():
        births |= pairing.births
        closings += pairing.closings
    return Paired(judged, births, closings)


def close(cursor: Cursor[Any], closings: Sequence[Closing]) -> None:
    """Close creates that have their result, and say which it is."""
    columns = zip(*closings, strict=True)
    names = ("sources", "keys", "resolutions", "results")
    cursor.execute(query("close_linked"), dict(zip(names, map(list, columns), strict=True)))


def _links(cursor: Cursor[Any], batch: Sequence[Decided]) -> dict[int, _Link]:
    """Return which records are about a background response, and about which; in order."""
    found: dict[int, _Link] = {}
    settled: dict[int, _Call] = {}
    for ordinal, decided in enumerate(batch):
        decision = decided.decision
        if not isinstance(decision, Charge | Deferred | Skipped):
            continue
        if decision.link is not None:
            found[ordinal] = (decision.link.source_system, decision.link.digest)
        elif isinstance(decision, Charge) and decision.settlement:
            settled[ordinal] = (decision.receipt.source_system, decision.receipt.call_key)
    if not settled:
        return found
    asked = {"keys": [key for _, key in settled.values()]}
    known = {
        (source, key): (source, link)
        for source, key, link in cursor.execute(query("find_links_of_calls"), asked)
    }
    found |= {ordinal: known[call] for ordinal, call in settled.items() if call in known}
    return dict(sorted(found.items()))


def _pairings(
    cursor: Cursor[Any], links: Mapping[int, _Link], batch: Sequence[Decided]
) -> dict[_Link, Pairing]:
    rows: dict[_Link, list[Row]] = {link: [] for link in links.values()}
    asked = {"links": [link for _, link in rows]}
    for source, link, *found, held, resolution, result_key in cursor.execute(
        query("find_links"), asked
    ):
        if (source, link) in rows:
            call_key, reason, *place = found
            charge = msgspec.convert(held, Charge) if held else None
            row = Row(call_key, reason, tuple(place), charge, resolution, result_key)
            rows[source, link].append(row)
    keys = {(link[0], key) for link, known in rows.items() for row in known for key in _keys(row)}
    for ordinal, (source, _) in links.items():
        decision = batch[ordinal].decision
        if isinstance(decision, Charge):
            keys.add((source, decision.receipt.call_key))
    receipts = _receipts(cursor, keys)
    return {link: Pairing(link[0], known, receipts) for link, known in rows.items()}


def _keys(row: Row) -> Iterator[str]:
    yield row.call_key
    if row.result_key:
        yield row.result_key


def _receipts(cursor: Cursor[Any], calls: AbstractSet[_Call]) -> dict[_Call, Place]:
    ids = [str(receipt_id(source, key)) for source, key in calls]
    found = cursor.execute(query("find_receipts"), {"ids": msgspec.json.encode(ids).decode()})
    return {(source, key): (topic, part, offset) for source, key, topic, part, offset, *_ in found}
