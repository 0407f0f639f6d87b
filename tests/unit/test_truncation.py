"""What a client says of a log that has lost its end; what it really says is in `test_cut_logs`."""

import pytest
from confluent_kafka import TopicPartition

from consumer.extent import OURS, Extent
from consumer.truncation import NO_EPOCH, Cut, cut_before
from tests.inputs.callbacks import record

CUT = (
    "Partition log truncation detected at offset 10 (leader epoch 3): broker end offset is 4 "
    "(offset leader epoch 2). Reset to INVALID.: Local: Partition log truncation detected "
    "(broker 1)"
)
UNKNOWN = (
    "No epoch found less or equal to offset 12 (leader epoch 5): broker end offset is -1 "
    "(offset leader epoch -1). Reset using configured policy.: Local: Partition log truncation "
    "detected (broker 1)"
)


@pytest.mark.parametrize(
    ("said", "epoch", "expected"),
    [
        (CUT, 3, Cut(4, 2)),
        (CUT, 1, Cut(4, 2)),
        (CUT, NO_EPOCH, Cut(4, 2)),
        (CUT, 4, None),
        (
            CUT.replace(
                "offset is 4 (offset leader epoch 2)", "offset is 0 (offset leader epoch -1)"
            ),
            3,
            Cut(0),
        ),
        (UNKNOWN, 5, Cut(None)),
        ("Local: Partition log truncation detected, in other words", 3, Cut(None)),
        ("no previously committed offset available: Local: No offset stored", 3, None),
        ("fetch failed due to requested offset not available on the broker", 3, None),
        ("no committed offset", 3, None),
        ("", 3, None),
    ],
)
def test_where_a_log_was_cut(said: str, epoch: int, expected: Cut | None) -> None:
    assert cut_before(said, epoch) == expected


def test_offsets_are_committed_with_the_epoch_of_what_was_read() -> None:
    batch = [record(b"", topic="a", partition=part, offset=7) for part in (0, 1)]
    extent = Extent.of(batch)
    known = Extent(extent.first, extent.end, extent.records, epochs={("a", 1): 3})
    # Two of the client's positions are equal whatever their epochs and words are.
    assert list(map(whole, known.next_offsets)) == [("a", 0, 8, OURS, None), ("a", 1, 8, OURS, 3)]


def whole(part: TopicPartition) -> tuple[object, ...]:
    """All that a position says."""
    return part.topic, part.partition, part.offset, part.metadata, part.leader_epoch
