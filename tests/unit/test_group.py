"""Which partitions a member of the group reads, out of the bytes in which its leader said so."""

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.group import assigned

PARTITIONS = st.sets(st.integers(0, 2**31 - 1), max_size=20)
ASSIGNMENTS = st.dictionaries(st.text(max_size=40), PARTITIONS, max_size=5)


def written(assignment: dict[str, set[int]], version: int = 0, rest: bytes = b"") -> bytes:
    """As a client writes it: version, topics with their partitions, whatever else it wants."""
    data = pack(">hi", version, len(assignment))
    for topic, partitions in assignment.items():
        name = topic.encode()
        data += pack(">h", len(name)) + name
        data += pack(f">i{len(partitions)}i", len(partitions), *partitions)
    return data + rest


@given(ASSIGNMENTS, st.integers(0, 3), st.binary(max_size=20))
def test_every_partition_of_an_assignment_is_read(
    assignment: dict[str, set[int]], version: int, rest: bytes
) -> None:
    expected = {(topic, part) for topic, parts in assignment.items() for part in parts}
    assert assigned(written(assignment, version, rest)) == expected


def test_a_member_that_waits_for_its_assignment_reads_nothing() -> None:
    assert assigned(b"") == set()


@given(st.binary(min_size=1, max_size=200))
def test_bytes_of_another_protocol_are_refused_or_name_partitions(data: bytes) -> None:
    try:
        found = assigned(data)
    except ValueError:
        return
    assert all(isinstance(topic, str) for topic, _ in found)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        pack(">hi", 0, 1),
        # A length below zero would go backwards, for as many times as there are topics.
        pack(">hihi", 0, 2**31 - 1, -6, 0) + bytes(8),
        pack(">hihi", 0, 1, 0, -1),
        pack(">hihi", 0, 1, 0, 2**31 - 1),
        written({"topic": {1, 2}})[:-1],
        pack(">hih", 0, 1, 2) + b"\xff\xff" + pack(">i", 0),
    ],
)
def test_what_is_no_assignment_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no assignment|without a name"):
        assigned(data)
