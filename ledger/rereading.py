"""Rereading: records that are read once more, whose events subscribers have had. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from charging.outcomes import DuplicateReason, Outcome, OutcomeKind, UnitReason
from ledger.gap import Published
from schemas.record import Record

Before = Mapping[tuple[str, int], int]
"""Up to where partitions have been published."""
_NEW: Final = (OutcomeKind.CREATED, OutcomeKind.DEFERRED)


def reread(
    outcomes: Sequence[Outcome], published: Sequence[Published], before: Before
) -> tuple[list[Outcome], list[tuple[Published, int]]]:
    """Return the outcomes with the events that are to go out, and what is not published after all.

    `published` is where the batch goes, and `before` up to where its partitions had been published.
    Where a person wants the events again none is left out. The second list has the offset from
    which on a partition is unpublished.
    """
    new = first_new(outcomes, before)
    wanted = {(one.topic, one.partition) for one in published if one.set_back}
    held_back = {place: end for place, end in before.items() if place not in wanted}
    unpublished = [
        (one, new[one.topic, one.partition])
        for one in published
        if (one.topic, one.partition) in new
    ]
    return without_published(outcomes, held_back), unpublished


def without_published(outcomes: Sequence[Outcome], before: Before) -> list[Outcome]:
    """Return the outcomes without the events that have been published already.

    What has no receipt yet gets its event all the same, and what is parked its dead letter: another
    record may stand there now, where Kafka has lost the one of before.
    """
    return [
        Outcome(one.decided, one.outcome, DuplicateReason.RECEIPT)
        if one.reason == DuplicateReason.REPLAYED and _is_before(one.decided.record, before)
        else one
        for one in outcomes
    ]


def first_new(outcomes: Sequence[Outcome], before: Before) -> dict[tuple[str, int], int]:
    """Return the first record of each partition that the ledger has only now, below `before`."""
    found: dict[tuple[str, int], int] = {}
    for one in outcomes:
        record = one.decided.record
        if _is_new(one) and _is_before(record, before):
            place = (record.topic, record.partition)
            found[place] = min(found.get(place, record.offset), record.offset)
    return found


def _is_new(one: Outcome) -> bool:
    return one.outcome in _NEW or one.reason == UnitReason.NEW


def _is_before(record: Record, before: Before) -> bool:
    return record.offset < before.get((record.topic, record.partition), 0)
