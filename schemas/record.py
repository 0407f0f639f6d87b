"""A record as it came from Kafka: what stands on a topic, whoever has produced it."""

from typing import Final, TypeAlias

import msgspec

from schemas.headers import FoundHeaders

ALL_LOST: Final = -1
"""Stands for the number of lost header names where the client hands out none of the headers."""

Provenance: TypeAlias = tuple[str, int, int]
"""Where a record stands: topic, partition, offset."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One Kafka record, as far as the client hands it out; anybody may have produced it.

    `timestamp_ms` is Kafka's own, milliseconds since the epoch, and any number; `taken_ms` is when
    this process took the record, 0 where that is not known. `value` is None for a tombstone.
    `names_lost` headers have names that the client cannot read.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: FoundHeaders
    taken_ms: int = 0
    names_lost: int = 0

    @property
    def provenance(self) -> Provenance:
        """Where it stands; a receipt keeps it as its provenance."""
        return (self.topic, self.partition, self.offset)

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return len(self.value or b"")

    def drop_value(self) -> None:
        """Free the value's memory, the one thing that ever changes: it is needed no more."""
        msgspec.structs.force_setattr(self, "value", None)

    @property
    def headers_unreadable(self) -> bool:
        """Whether the client could not hand out a single header of the record."""
        return self.names_lost == ALL_LOST
