"""The gap: what a group has committed and the ledger does not know. Pure.

PostgreSQL commits a batch before Kafka does, so a ledger knows at least what the group has
committed. One that knows less has lost receipts, or is another ledger.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

Cause: TypeAlias = Literal["behind", "unknown", "other_topic", "former_release"]


class LedgerBehindError(Exception):
    """The ledger knows less than the group has committed; nothing of the batch was written."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of one partition of the topic with this id, for one group.

    Every record below `next_offset` is in the ledger, and every one below `published_offset` has
    been published, too. `former`: the release before this one wrote it last, which wrote down
    before each batch what was published, and not after it what was written.
    """

    topic_id: str
    next_offset: int
    published_offset: int
    former: bool = False


class Published(msgspec.Struct, frozen=True):
    """Up to where `group` has come in a partition, for the ledger to remember.

    Every record below `next_offset` is in the ledger, and every one below `published_offset` has
    been published. `topic_id` tells the topic from a later one of the same name. `committed` is
    what the group had committed in Kafka before: a ledger that knows less has lost receipts.
    `set_back`: a person has set the group back, and what is published is to be published again.
    """

    group: str
    topic: str
    partition: int
    topic_id: str
    next_offset: int
    published_offset: int
    committed: int = 0
    set_back: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that have to be written again, from `first` up to before `end`.

    The ledger knows everything below `since`; what stood between it and `first` is no longer in
    Kafka. `seen` is what the ledger said, for whoever changes it.
    """

    topic: str
    partition: int
    topic_id: str
    since: int
    first: int
    end: int
    cause: Cause
    seen: Known | None = None

    @property
    def gone(self) -> int:
        """How many records cannot be written again."""
        return self.first - self.since


def knows(known: Known | None, topic_id: str, committed: int) -> bool:
    """Say whether the ledger knows everything that the group has committed."""
    return committed <= _since(known, topic_id)


def published_before(known: Known | None, topic_id: str, committed: int) -> int | None:
    """Return up to where records behind `committed` have been published; None where none were."""
    if known is None or known.topic_id != topic_id or known.published_offset <= committed:
        return None
    return known.published_offset


def _since(known: Known | None, topic_id: str) -> int:
    return known.next_offset if known is not None and known.topic_id == topic_id else 0


def gap(
    place: tuple[str, int], known: Known | None, topic_id: str, committed: int, low: int
) -> Gap | None:
    """Return what a partition's ledger lacks; None where it lacks nothing.

    `low` is the first offset that Kafka still has. `committed` is no offset past the end.
    """
    since = _since(known, topic_id)
    if since >= committed:
        return None
    first = min(max(since, low), committed)
    return Gap(*place, topic_id, since, first, committed, _cause(known, topic_id), known)


def _cause(known: Known | None, topic_id: str) -> Cause:
    if known is None:
        return "unknown"
    if known.topic_id != topic_id:
        return "other_topic"
    return "former_release" if known.former else "behind"
