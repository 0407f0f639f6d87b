"""Batches: how many records are taken at once, by their number and by their memory."""

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import Consumer, Message

from runtime.messages import record_of
from schemas.record import Record

_FIRST_PART: Final = 5
_LARGEST_PART: Final = 500
_LEAST_ROOM: Final = 1024 * 1024
"""Bytes that a part may have in any case: records are not taken one by one for a small bound."""


def fetch_bounds(fetch_bytes: int) -> dict[str, int]:
    """Return the client's settings for what is fetched ahead, beside the batches in hand."""
    return {
        # Bytes as they are sent, compressed: nobody knows before what they become. Records that
        # were sent together and are larger are fetched all the same, alone.
        "fetch.message.max.bytes": fetch_bytes,
        "fetch.max.bytes": fetch_bytes,
        # The client refuses the one above where it is smaller than this, which a consumer sends.
        "message.max.bytes": fetch_bytes,
        # And this is bytes as they are in memory: nothing is fetched while so much waits.
        "queued.max.messages.kbytes": 16_384,
    }


def next_part(largest: int | None, room: int) -> int:
    """Return how many records to take next.

    Args:
        largest: bytes of the largest record of the part before; None where there was none.
        room: bytes that the batch still takes.
    """
    if largest is None:
        return _FIRST_PART
    return max(1, min(_LARGEST_PART, max(room, _LEAST_ROOM) // max(largest, 1)))


class Batches:
    """Collects batches, in parts, because the client keeps its own copy while its message lives.

    What a record says of its size is what it takes in memory: values are counted as they are after
    the client has decompressed them. Not safe for threads.

    Args:
        consumer: of whose partitions.
        records: most records of a batch.
        size: bytes of values with which a batch takes no more records.
        wait_seconds: longest wait for a batch to fill.
        is_record: whether a message is one; may raise what it says otherwise.
        now: a clock, seconds.
    """

    def __init__(
        self,
        consumer: Consumer,
        records: int,
        size: int,
        wait_seconds: float,
        is_record: Callable[[Message], bool],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._consumer = consumer
        self._records = records
        self._size = size
        self._wait_seconds = wait_seconds
        self._is_record = is_record
        self._largest: int | None = None

    def next(self) -> list[Record]:
        """Collect a batch, until it is full or the time to wait for more is over."""
        records, size = list[Record](), 0
        until = self._now() + self._wait_seconds
        while len(records) < self._records and size < self._size:
            wanted = min(next_part(self._largest, self._size - size), self._records - len(records))
            part = self._part(wanted, max(until - self._now(), 0))
            records += part
            sizes = [record.size for record in part]
            size += sum(sizes)
            self._largest = max(sizes, default=self._largest)
            if not part or (len(part) < wanted and self._now() > until):
                break
        return records

    def _part(self, wanted: int, wait_seconds: float) -> list[Record]:
        """Take what is there, up to `wanted`; wait for one only where nothing is."""
        messages = self._consumer.consume(wanted, 0) or self._consumer.consume(1, wait_seconds)
        now = time.time_ns() // 1_000_000
        return [record_of(message, now) for message in messages if self._is_record(message)]
