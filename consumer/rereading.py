"""Rereading: records that are read once more, whose events subscribers have had. Pure."""

from collections.abc import Mapping, Sequence

from charging.outcomes import DuplicateReason, Outcome
from consumer.start import Place
from schemas.record import Record


def without_published(
    outcomes: Sequence[Outcome], published_before: Mapping[Place, int]
) -> Sequence[Outcome]:
    """Return the outcomes without the events that have been published already.

    `published_before` says up to where that is so in a partition. What has no receipt yet gets its
    event all the same, and what is parked its dead letter: another record may stand there now,
    where Kafka has lost the one of before.
    """
    if not published_before:
        return outcomes
    return [
        Outcome(one.decided, one.outcome, DuplicateReason.RECEIPT)
        if one.reason == DuplicateReason.REPLAYED
        and _is_before(one.decided.record, published_before)
        else one
        for one in outcomes
    ]


def _is_before(record: Record, published_before: Mapping[Place, int]) -> bool:
    return record.offset < published_before.get((record.topic, record.partition), 0)
