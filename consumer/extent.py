"""The extent of a batch: from where to where it goes. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

from confluent_kafka import TopicPartition

from consumer.start import Place
from consumer.truncation import NO_EPOCH
from schemas.record import Record

OURS: Final = "billing-stream"
"""Stands beside an offset that a member commits, and beside none that a person sets."""


@dataclass(frozen=True, slots=True)
class Extent:
    """From where to where records go: in each partition the first offset, and that after the last.

    Looked for once a batch: it is asked for at every step of the batch's way. `set_back` says up to
    where a person has the group read once more: the offsets there stay that person's. `epochs` are
    those of the leaders that wrote the last records, where they are known; see `truncation`.
    """

    first: Mapping[Place, int]
    end: Mapping[Place, int]
    records: int
    set_back: Mapping[Place, int] = field(default_factory=dict)
    epochs: Mapping[Place, int] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Sequence[Record]) -> Self:
        """Return where records begin and end."""
        first, end = dict[Place, int](), dict[Place, int]()
        for record in records:
            place, offset = (record.topic, record.partition), record.offset
            if place not in first:
                first[place], end[place] = offset, offset + 1
            elif offset >= end[place]:
                end[place] = offset + 1
            elif offset < first[place]:
                first[place] = offset
        return cls(first, end, len(records))

    def without(self, places: Collection[Place]) -> Self:
        """Return where records end in all other partitions."""
        if not places:
            return self
        return replace(self, end={at: end for at, end in self.end.items() if at not in places})

    @property
    def next_offsets(self) -> list[TopicPartition]:
        """Where the group reads on in each partition."""
        return [self._position(*one) for one in self.end.items()]

    def _position(self, place: Place, offset: int) -> TopicPartition:
        said = "" if offset < self.set_back.get(place, 0) else OURS
        return TopicPartition(*place, offset, said, self.epochs.get(place, NO_EPOCH))
