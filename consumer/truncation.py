"""The truncation of a log: what it had from there on is lost, and other records may stand there.

Kafka does that where all replicas are lost together, or one is elected that was behind. The group's
offset looks valid all the same, once enough has come after it. So each offset is committed with the
epoch of the leader that wrote the record before it, and the client asks the broker up to where it
has records of that epoch (KIP-320). Pure.
"""

import re
from dataclasses import dataclass
from typing import Final

NO_EPOCH: Final = -1
"""How the client takes an offset whose epoch is not known; it hands it out as None."""
_REPORT: Final = re.compile(
    r"\(leader epoch (\d+)\): broker end offset is (-?\d+) \(offset leader epoch (-?\d+)\)"
)
"""Of librdkafka (2.16), which says it in words only."""
_LIKE_ONE: Final = re.compile(r"truncat|epoch", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a log was cut, None where nobody knows it, and the epoch of what stands before."""

    offset: int | None
    epoch: int = NO_EPOCH


def cut_before(said: str, epoch: int) -> Cut | None:
    """Return where a log was cut that the group had read further; None where it was not.

    `said` is what the client has found wrong with the offset of a partition, `epoch` that of where
    the group reads on. What the client says waits over a revocation and the next assignment, and
    another member may have read on from there by then: it counts for offsets of that epoch and of
    earlier ones.
    """
    if found := _REPORT.search(said):
        of, offset, before = map(int, found.groups())
        if epoch > of:
            return None
        return Cut(offset, before) if offset >= 0 else Cut(None)
    return Cut(None) if _LIKE_ONE.search(said) else None


def known_epoch(epoch: int | None) -> int:
    """Return an epoch that the client has handed out, `NO_EPOCH` for none."""
    return NO_EPOCH if epoch is None else epoch
