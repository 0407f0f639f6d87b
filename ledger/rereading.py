"""Rereading: records that are read once more, whose events subscribers have had. Pure."""

from collections.abc import Mapping, Sequence

from charging.outcomes import DuplicateReason, Outcome, OutcomeKind
from schemas.record import Record

Before = Mapping[tuple[str, int], int]
"""Up to where partitions have been published."""


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
    """Return the first record of each partition that has a receipt only now, below `before`."""
    found: dict[tuple[str, int], int] = {}
    for one in outcomes:
        record = one.decided.record
        if one.outcome is OutcomeKind.CREATED and _is_before(record, before):
            place = (record.topic, record.partition)
            found[place] = min(found.get(place, record.offset), record.offset)
    return found


def _is_before(record: Record, before: Before) -> bool:
    return record.offset < before.get((record.topic, record.partition), 0)
