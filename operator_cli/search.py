"""Looking for a call in Kafka: on the callbacks topic and among the dead letters, within bounds."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from operator_cli.sightings import Sought
from runtime.topic_range import TopicRange
from schemas.record import Record


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far is looked: the newest `records` of a topic, for at most so many seconds."""

    records: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Looked:
    """How far was looked at a topic: `read` records, of the newest `bound` of all `there` are."""

    topic: str
    partitions: list[int]
    there: int
    read: int
    whole: bool

    def sentence(self) -> str:
        """Say it, and whether there may be more."""
        where = "all partitions"
        if self.partitions:
            where = f"partition {', '.join(map(str, self.partitions))}, the run's"
        if self.whole:
            return f"Searched the whole of {self.topic} ({where})."
        return (
            f"Searched {self.read:,} of {self.there:,} records of {self.topic} ({where}): "
            "raise --scan-limit or --seconds to search the others."
        )

    def row(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def look(
    config: Mapping[str, Any],
    topic: str,
    sought: Sought,
    bounds: Bounds,
    *,
    partitions: set[int],
    progress: Callable[[int, int], None],
) -> tuple[list[Record], Looked]:
    """Return the records that are of the call, and how far was looked.

    `partitions`: only there, where any are given. `progress` is told how many records were read and
    how many there are. Raises `KafkaException`.
    """
    topic_range = TopicRange(config, topic)
    try:
        if partitions:
            topic_range.within(partitions)
        there = topic_range.records
        topic_range.newest(bounds.records)
        wanted, read = topic_range.records, 0
        found, until = list[Record](), time.monotonic() + bounds.seconds
        for batch in topic_range.unless(lambda: time.monotonic() > until):
            found += [record for record in batch if sought.fits(record)]
            read += len(batch)
            progress(read, wanted)
        ended = time.monotonic() <= until
    finally:
        topic_range.close()
    whole = ended and wanted == there
    return found, Looked(topic, sorted(partitions), there, read, whole)
