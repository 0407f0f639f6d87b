"""What a ledger lacks of what the group has committed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.gap import Gap, Known, gap, knows, published_before

PLACE = ("topic", 3)
HERE = Known("here", 8, 6)
GONE = Known("gone", 50, 50)
OLD = Known("here", 8, 8, former=True)


@pytest.mark.parametrize(
    ("known", "committed", "low", "expected"),
    [
        (HERE, 8, 0, None),
        (HERE, 7, 0, None),
        (HERE, 11, 0, Gap(*PLACE, "here", 8, 8, 11, "behind", HERE)),
        (HERE, 11, 10, Gap(*PLACE, "here", 8, 10, 11, "behind", HERE)),
        (HERE, 11, 15, Gap(*PLACE, "here", 8, 11, 11, "behind", HERE)),
        (OLD, 8, 0, None),
        (OLD, 11, 0, Gap(*PLACE, "here", 8, 8, 11, "former_release", OLD)),
        (GONE, 11, 2, Gap(*PLACE, "here", 0, 2, 11, "other_topic", GONE)),
        (None, 0, 0, None),
        (None, 11, 2, Gap(*PLACE, "here", 0, 2, 11, "unknown", None)),
    ],
)
def test_what_is_lacking(known: Known | None, committed: int, low: int, expected: object) -> None:
    assert gap(PLACE, known, "here", committed, low) == expected
    assert knows(known, "here", committed) is (expected is None)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_each_record_that_is_lacking_is_written_again_or_told_as_gone(
    written: int, committed: int, low: int
) -> None:
    found = gap(PLACE, Known("here", written, 0), "here", committed, low)
    lacking = set(range(written, committed))
    again = set(range(found.first, found.end)) if found else set()
    assert again == {offset for offset in lacking if offset >= low}
    assert (found.gone if found else 0) == len(lacking - again)


@pytest.mark.parametrize(
    ("known", "committed", "expected"),
    [(HERE, 5, 6), (HERE, 6, None), (HERE, 9, None), (GONE, 5, None), (None, 5, None), (OLD, 0, 8)],
    ids=["older", "the same", "newer", "another topic", "no ledger", "of the former release"],
)
def test_up_to_where_is_published_what_kafka_gives_once_more(
    known: Known | None, committed: int, expected: int | None
) -> None:
    assert published_before(known, "here", committed) == expected
