"""The start: where to read a partition of which Kafka has no valid offset of the group. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

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
    cut: int | None = None,
) -> Start:
    """Return where to read a partition from of which the client found no valid offset.

    `low` and `high` are the first offset that Kafka still has and the one after its last,
    `committed` is what the group has committed, if anything: what the client found may be of an
    earlier assignment. `cut` is where the log has lost what the group has read, by the client's
    word. When in doubt the answer is `low`: ACCEPTED_IS_DURABLE comes before
    RECEIPTS_PUBLISHED_EXACTLY_ONCE.
    """
    mine = known if known is not None and topic_id and known.topic_id == topic_id else None
    read = committed if committed is not None and committed <= high else 0
    expired = max(low - max(read, mine.next_offset if mine else 0), 0)
    if mine is None:
        return Start(low, "first_time" if known is None else "other_topic", expired)
    if cut is not None and committed is not None and cut < committed:
        return Start(max(cut, low), "truncated", max(low - cut, 0))
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
    """Return what the ledger is to learn: nothing of topics whose id is not known."""
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
        if (topic_id := ids[place[0]]) and chosen.reset not in _AS_KNOWN
    ]


def lost_as(chosen: Start) -> Lost:
    """Return under which name the records count that Kafka deleted before this."""
    return "never_read" if chosen.reset in _NEVER_READ else "expired"
