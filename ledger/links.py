"""What waits in the ledger: background responses, of which one callback has come and another not.

A batch asks for it only when one of its records is about such a response, or settles a deferral.
Pure: `apply` asks.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from charging.outcomes import Charge, Decided, Deferred, Skipped
from charging.pairing import Closing, Pairing, Row
from schemas.record import Provenance

Link: TypeAlias = tuple[str, str]
"""Source system and digest."""
_Call: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Paired:
    """A batch whose background responses are judged, and what that changes in the ledger.

    `births` are creates, by ordinal, that need a row although their record makes a receipt.
    """

    batch: Sequence[Decided]
    births: Mapping[int, Deferred] = field(default_factory=dict)
    closings: Sequence[Closing] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What a batch says of background responses, by ordinal: which one, or which call is settled.

    Whether what is settled is such a response, the ledger alone knows.
    """

    links: Mapping[int, Link]
    settled: Mapping[int, _Call]


def told(batch: Sequence[Decided]) -> Told:
    """Return what the records themselves say."""
    links: dict[int, Link] = {}
    settled: dict[int, _Call] = {}
    for ordinal, decided in enumerate(batch):
        decision = decided.decision
        if not isinstance(decision, Charge | Deferred | Skipped):
            continue
        if decision.link is not None:
            links[ordinal] = (decision.link.source_system, decision.link.digest)
        elif isinstance(decision, Charge) and decision.settlement:
            settled[ordinal] = (decision.receipt.source_system, decision.receipt.call_key)
    return Told(links, settled)


def with_settled(said: Told, known: Iterable[tuple[str, str, str]]) -> dict[int, Link]:
    """Return which record is about which response; `known` are calls and their links, a row each.

    In the order of the batch.
    """
    digests = {(source, key): digest for source, key, digest in known}
    found = {
        ordinal: (call[0], digests[call])
        for ordinal, call in said.settled.items()
        if call in digests
    }
    return dict(sorted({**said.links, **found}.items()))


def calls_of(
    batch: Sequence[Decided], links: Mapping[int, Link], rows: Mapping[Link, Collection[Row]]
) -> set[_Call]:
    """Return the calls whose receipts tell which response is charged already."""
    calls = {(link[0], key) for link, known in rows.items() for row in known for key in _keys(row)}
    for ordinal, (source, _) in links.items():
        decision = batch[ordinal].decision
        if isinstance(decision, Charge):
            calls.add((source, decision.receipt.call_key))
    return calls


def _keys(row: Row) -> Iterator[str]:
    yield row.call_key
    if row.result_key:
        yield row.result_key


def pair(
    batch: Sequence[Decided],
    links: Mapping[int, Link],
    rows: Mapping[Link, Collection[Row]],
    receipts: Mapping[_Call, Provenance],
) -> Paired:
    """Judge what a batch tells of background responses.

    `rows` are the deferrals that the ledger has of them, the oldest first, and `receipts` the
    receipts of `calls_of`.
    """
    pairings = {
        link: Pairing(link[0], rows.get(link, ()), receipts)
        for link in dict.fromkeys(links.values())
    }
    judged = list(batch)
    for ordinal, link in links.items():
        record, decision = batch[ordinal].record, batch[ordinal].decision
        judged[ordinal] = Decided(
            record, pairings[link].judge(ordinal, record.provenance, decision)
        )
    births: dict[int, Deferred] = {}
    closings: list[Closing] = []
    for pairing in pairings.values():
        births |= pairing.births
        closings += pairing.closings
    return Paired(judged, births, closings)
