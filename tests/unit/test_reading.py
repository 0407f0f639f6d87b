"""How a batch is read: in parts, sized by what came before, and never far over its bound."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.batches import Batches, next_part
from schemas.record import Record

KIB = 1024


class Message:
    """A record of a size."""

    def __init__(self, size: int, offset: int) -> None:
        self._value = bytes(size)
        self._offset = offset

    def error(self) -> None:
        """None."""

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def key(self) -> None:
        """None."""

    def value(self) -> bytes:
        return self._value

    def headers(self) -> None:
        """None."""


class Client:
    """Hands out what waits, as the Kafka client does."""

    def __init__(self, sizes: list[int]) -> None:
        self._waiting = deque(Message(size, offset) for offset, size in enumerate(sizes))
        self.largest_part = 0

    def consume(self, wanted: int, _: float) -> list[Message]:
        part = [self._waiting.popleft() for _ in range(min(wanted, len(self._waiting)))]
        self.largest_part = max(self.largest_part, sum(len(one.value()) for one in part))
        return part


def batches(client: Client, records: int, size: int) -> Iterator[list[Record]]:
    """Read until nothing is left."""
    foreign: Any = client
    collected = Batches(foreign, records, size, 0.001, lambda _: True)
    while batch := collected.next():
        yield batch


@given(
    st.lists(st.sampled_from([0, 100, 10 * KIB, 500 * KIB]), max_size=60),
    st.integers(1, 40),
    st.sampled_from([1, 64 * KIB, 1024 * KIB]),
)
def test_every_record_is_read_once_and_in_order(sizes: list[int], records: int, size: int) -> None:
    client = Client(sizes)
    found = [record.offset for batch in batches(client, records, size) for record in batch]
    assert found == list(range(len(sizes)))


@pytest.mark.parametrize("size", [100 * KIB, 1024 * KIB])
def test_a_backlog_of_large_records_is_taken_in_batches_of_the_bound(size: int) -> None:
    """The first part is taken unseen; from then on a batch ends before the next one would."""
    client = Client([size] * 300)
    for batch in batches(client, 3_000, 4096 * KIB):
        assert sum(record.size for record in batch) <= 4096 * KIB + max(5 * size, 1024 * KIB)


def test_a_part_is_sized_by_what_came_before() -> None:
    assert next_part(None, 10**9) == 5
    assert next_part(1_000, 10**9) == 500
    assert next_part(0, 1) == 500
    assert next_part(14_000, 1) == 74
    assert next_part(10**7, 3 * 10**7) == 3
    assert next_part(10**7, 1) == 1
