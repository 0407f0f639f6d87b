"""The dead-letter limit stops a flood before it is written, and lets ordinary faults through."""

from collections.abc import Sequence

import pytest

from charging.decision import decide
from charging.outcomes import (
    Decided,
    Decision,
    Outcome,
    OutcomeKind,
    Parked,
    Skipped,
    SkippedReason,
)
from consumer import metrics
from consumer.limit import DeadLetterLimit, DeadLetterLimitError, ReleaseCheck
from schemas.headers import Reason
from schemas.receipt import ChargeReason
from schemas.record import Record
from tests.inputs.callbacks import policy
from tests.inputs.settings import settings


def batch(pattern: str) -> Sequence[Decided]:
    """One record a letter: p is parked, anything else is not."""
    return [
        Decided(
            Record("callbacks", 0, offset, 0, b"run", b"{}", []),
            Parked(Reason.CONTRACT_BROKEN, "")
            if letter == "p"
            else Skipped(SkippedReason.FAILED_CALL),
        )
        for offset, letter in enumerate(pattern)
    ]


def test_so_many_in_a_row_stop_and_the_message_names_the_record() -> None:
    limit = DeadLetterLimit(longest_run=3, share=1.0, window=100)
    limit.count(batch("ppoppo"))
    with pytest.raises(DeadLetterLimitError, match=r"3 records in a row.*callbacks/0 offset 3"):
        limit.count(batch("oppp"))


def test_a_row_may_continue_in_the_next_batch() -> None:
    limit = DeadLetterLimit(longest_run=3, share=1.0, window=100)
    limit.count(batch("pp"))
    with pytest.raises(DeadLetterLimitError):
        limit.count(batch("p"))


def test_a_share_over_the_limit_stops_once_the_window_is_full() -> None:
    limit = DeadLetterLimit(longest_run=100, share=0.5, window=10)
    limit.count(batch("popopopop"))
    with pytest.raises(DeadLetterLimitError, match="6 of the last 10"):
        limit.count(batch("pp"))


def test_old_records_leave_the_window() -> None:
    limit = DeadLetterLimit(longest_run=100, share=0.3, window=10)
    limit.count(batch("pppooooooo" + "o" * 10 + "pppooooooo"))


def test_a_batch_that_is_read_again_counts_once() -> None:
    limit = DeadLetterLimit(longest_run=4, share=0.5, window=10)
    limit.count(batch("ooooop"))
    for _ in range(5):
        before = limit.state()
        limit.count(batch("ppoopp"))
        limit.go_back_to(before)
    limit.count(batch("pp"))
    with pytest.raises(DeadLetterLimitError, match="4 records in a row"):
        limit.count(batch("p"))


def guard(*, reads: bool = True, stores: bool = True) -> ReleaseCheck:
    """A guard with a limit of three in a row, of a release that is whole or not."""

    def decided(record: Record) -> Decision:
        return decide(record, policy()) if reads else Parked(Reason.CONTRACT_BROKEN, "a bug")

    return ReleaseCheck(settings(consumer_dead_letter_run=3), decided, lambda _: stores)


def refused(pattern: str) -> list[Outcome]:
    """What the ledger says: u is refused, p was parked before, anything else is written."""
    became = {
        "u": (OutcomeKind.PARKED, Reason.UNSTORABLE),
        "p": (OutcomeKind.PARKED, Reason.CONTRACT_BROKEN),
    }
    return [
        Outcome(
            Decided(one.record, Parked(Reason.UNSTORABLE, "")) if letter == "u" else one,
            *became.get(letter, (OutcomeKind.CREATED, ChargeReason.USAGE)),
        )
        for letter, one in zip(pattern, batch(pattern), strict=True)
    ]


def test_08_bad_records_stop_nobody_however_many() -> None:
    whole = guard()
    for _ in range(50):
        whole.check(batch("p" * 1_000))


def test_after_the_sample_counting_begins_anew() -> None:
    whole, reached = guard(), metrics.LIMIT_REACHED.labels("read")
    before = reached._value.get()  # noqa: SLF001 - the only way to read it
    for pattern in ("ppp", "pp", "opp", "p"):
        whole.check(batch(pattern))
    assert reached._value.get() == before + 2  # noqa: SLF001 - the same


def test_a_release_that_does_not_read_its_sample_is_stopped() -> None:
    with pytest.raises(DeadLetterLimitError, match="3 records in a row"):
        guard(reads=False).check(batch("oppp"))


def test_a_release_that_is_broken_may_still_skip_what_is_to_be_skipped() -> None:
    guard(reads=False).check(batch("oppo"))


def test_what_the_tables_refuse_stops_nobody_who_stores_the_sample() -> None:
    whole = guard()
    for _ in range(50):
        whole.check_written(refused("u" * 1_000))


@pytest.mark.parametrize("pattern", ["uuu", "upupu"])
def test_a_schema_that_refuses_the_sample_is_stopped(pattern: str) -> None:
    broken = guard(stores=False)
    broken.check_written(refused("uou"))
    with pytest.raises(DeadLetterLimitError, match=r"3 records in a row.*unstorable"):
        broken.check_written(refused(pattern))


def test_what_was_parked_before_says_nothing_about_the_schema() -> None:
    guard(stores=False).check_written(refused("ppppuppppu"))
