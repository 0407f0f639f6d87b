"""Positions in the ledger: up to where each partition is written and published.

Each function works within the caller's transaction, and raises what psycopg raises.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from psycopg import Cursor

from ledger.gap import Known, LedgerBehindError, Published
from ledger.queries import query
from ledger.rows import published_rows

Lost: TypeAlias = Literal["expired", "never_read", "ledger_lost"]


@dataclass(frozen=True, slots=True)
class Move:
    """A partition that is read on from `offset`, given up what stands from `lost_from` to there.

    `seen` is what the ledger said when that was decided.
    """

    topic: str
    partition: int
    topic_id: str
    offset: int
    seen: Known | None
    lost_from: int
    reason: Lost

    @property
    def lost(self) -> int:
        """How many records that are."""
        return self.offset - self.lost_from


def remember(cursor: Cursor[Any], published: Sequence[Published]) -> dict[tuple[str, int], int]:
    """Write down up to where partitions are written and published.

    Returns up to where they had been published, where that is further: these records are read
    again. Raises `LedgerBehindError` where the ledger had known less than the group has committed:
    the transaction has to be rolled back, or nobody could see any more what is lost.
    """
    if not published:
        return {}
    rows = cursor.execute(query("remember_published"), published_rows(published)).fetchall()
    if behind := sorted(f"{topic}/{partition}" for topic, partition, behind, _ in rows if behind):
        places = ", ".join(behind)
        raise LedgerBehindError(f"the ledger knows less than the group has committed of {places}")
    return {(topic, partition): before for topic, partition, _, before in rows}


def unpublish(cursor: Cursor[Any], one: Published, offset: int) -> None:
    """Write down that nothing from `offset` on is published, and nothing written behind `one`."""
    place = {"group": one.group, "topic": one.topic, "partition": one.partition}
    cursor.execute(query("unpublish"), place | {"offset": offset, "end": one.next_offset})


def known(
    cursor: Cursor[Any], group: str, places: Collection[tuple[str, int]]
) -> dict[tuple[str, int], Known]:
    """Return what the ledger knows of partitions; those that it does not know are left out."""
    asked = {
        "group": group,
        "topics": [topic for topic, _ in places],
        "partitions": [partition for _, partition in places],
    }
    rows = cursor.execute(query("find_published"), asked)
    return {(topic, partition): Known(*rest) for topic, partition, *rest in rows}


def move(cursor: Cursor[Any], group: str, moves: Sequence[Move]) -> list[Move]:
    """Move positions, and write down with each what is lost by it; return those that were moved.

    Left out is what another member has changed since it was looked at.
    """
    return [one for one in moves if _moved(cursor, group, one)]


def _moved(cursor: Cursor[Any], group: str, one: Move) -> bool:
    place = {
        "group": group,
        "topic": one.topic,
        "partition": one.partition,
        "topic_id": one.topic_id,
    }
    to = {
        "next_offset": one.offset,
        "seen_id": one.seen and one.seen.topic_id,
        "seen_offset": one.seen and one.seen.next_offset,
        "seen_published": one.seen and one.seen.published_offset,
    }
    if not cursor.execute(query("move_published"), place | to).rowcount:
        return False
    if one.lost > 0:
        lost = {"first": one.lost_from, "end": one.offset, "reason": one.reason}
        cursor.execute(query("insert_lost"), place | lost)
    return True
