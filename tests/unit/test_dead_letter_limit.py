"""The dead-letter limit stops a flood before it is written, and lets ordinary faults through."""

from collections.abc import Sequence

import pytest

from consumer.limit import DeadLetterLimit, DeadLetterLimitError
from consumer.record import Decided, Parked, Record, Skipped


def batch(pattern: str) -> Sequence[Decided]:
    """One record a letter: p is parked, anything else is not."""
    return [
        Decided(
            Record("callbacks", 0, offset, 0, b"run", b"{}", []),
            Parked("contract_broken", "") if letter == "p" else Skipped("failed_call"),
        )
        for offset, letter in enumerate(pattern)
    ]


def test_so_many_in_a_row_stop_and_the_message_names_the_record() -> None:
    limit = DeadLetterLimit(longest_run=3, share=1.0, window=100)
    limit.admit(batch("ppoppo"))
    with pytest.raises(DeadLetterLimitError, match=r"3 records in a row.*callbacks/0 offset 3"):
        limit.admit(batch("oppp"))


def test_a_row_may_span_batches() -> None:
    limit = DeadLetterLimit(longest_run=3, share=1.0, window=100)
    limit.admit(batch("pp"))
    with pytest.raises(DeadLetterLimitError):
        limit.admit(batch("p"))


def test_a_share_over_the_limit_stops_once_the_window_is_full() -> None:
    limit = DeadLetterLimit(longest_run=100, share=0.5, window=10)
    limit.admit(batch("popopopop"))
    with pytest.raises(DeadLetterLimitError, match="6 of the last 10"):
        limit.admit(batch("pp"))


def test_old_records_leave_the_window() -> None:
    limit = DeadLetterLimit(longest_run=100, share=0.3, window=10)
    limit.admit(batch("pppooooooo" + "o" * 10 + "pppooooooo"))


def test_a_batch_that_is_read_again_counts_once() -> None:
    limit = DeadLetterLimit(longest_run=4, share=0.5, window=10)
    limit.admit(batch("ooooop"))
    for _ in range(5):
        limit.admit(batch("ppoopp"))
        limit.withdraw()
    limit.admit(batch("pp"))
    with pytest.raises(DeadLetterLimitError, match="4 records in a row"):
        limit.admit(batch("p"))
