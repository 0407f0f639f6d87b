"""The start: where to read a partition of which Kafka has no valid offset of the group. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from consumer.truncation import Cut
from ledger.gap import Known
from ledger.positions import Lost, Move

Place: TypeAlias = tuple[str, int]
"""A topic and one of its partitions."""

Reset: TypeAlias = Literal[
    "committed", "first_time", "remembered", "expired", "other_topic", "truncated"
]

_NEVER_READ: Final = ("first_time", "other_topic")
_AS_KNOWN: Final = ("committed", "remembered")


@dataclass(frozen=True, slots=True)
class Start:
    """Where to read on, why there, and how many records Kafka deleted before they were read."""

    offset: int
    reset: Reset
    expired: int = 0


def start(
    known: Known | None,
    topic_id: str,
    low: int,
    high: int,
    committed: int | None = None,
    *,
    cut: Cut | None = None,
) -> Start:
    """Return where to read a partition from of which the client found no valid offset.

    `low` and `high` are the first offset that Kafka still has and the one after its last,
    `committed` is what the group has committed, if anything: what the client found may be of an
    earlier assignment. `cut` is where the log has lost what the group has read, by the client's
    word: reading goes on there also where the ledger knows nothing, which is compared then. When in
    doubt the answer is `low`: ACCEPTED_IS_DURABLE comes before
    RECEIPTS_PUBLISHED_EXACTLY_ONCE.
    """
    mine = known if known is not None and topic_id and known.topic_id == topic_id else None
    read = committed if committed is not None and committed <= high else 0
    expired = max(low - max(read, mine.next_offset if mine else 0), 0)
    if cut is not None and committed is not None and (known is None or mine is not None):
        since = low - expired if cut.offset is None else cut.offset
        if since < committed:
            return Start(max(low, cut.offset or 0), "truncated", max(low - since, 0))
    if mine is None:
        return Start(low, "first_time" if known is None else "other_topic", expired)
    if committed is not None and committed < low <= mine.published_offset:
        # It is older than what the group had: what is left from there on is read once more.
        committed = low
    if committed is not None and low <= committed <= high:
        return Start(committed, "committed")
    if mine.published_offset > high:
        return Start(low, "truncated", expired)
    if mine.published_offset < low:
        return Start(low, "expired", expired)
    return Start(mine.published_offset, "remembered")


def moves(
    found: Mapping[Place, Start], known: Mapping[Place, Known], ids: Mapping[str, str]
) -> list[Move]:
    """Return what the ledger is to learn: nothing of topics whose id is not known.

    A ledger that knows less than where a log was cut is not told so: it has lost something itself,
    which is found when it is compared.
    """
    return [
        Move(
            *place,
            topic_id,
            chosen.offset,
            known.get(place),
            chosen.offset - chosen.expired,
            lost_as(chosen),
        )
        for place, chosen in found.items()
        if (topic_id := ids[place[0]])
        and chosen.reset not in _AS_KNOWN
        and (chosen.reset != "truncated" or _reaches(known.get(place), chosen))
    ]


def _reaches(known: Known | None, chosen: Start) -> bool:
    """Whether the ledger knows all that stands before, and what is to be taken back or given up."""
    if known is None:
        return False
    lost_from = chosen.offset - chosen.expired
    return known.next_offset > chosen.offset or lost_from <= known.next_offset < chosen.offset


def lost_as(chosen: Start) -> Lost:
    """Return under which name the records count that Kafka deleted before this."""
    return "never_read" if chosen.reset in _NEVER_READ else "expired"
