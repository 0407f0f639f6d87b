"""What becomes of a row: the books and the consumer's own decision say it, and nothing else."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest

from charging.outcomes import Charge, Deferred, SkippedReason
from reconciler.comparison import Books, Compared, Entry, Known, Verdict, compare
from reconciler.reposting import Unidentified, callback_of
from reconciler.row import SpendLog, read_row
from schemas.callback import RECONCILER
from tests.inputs import spend_log_captures as captures
from tests.inputs.callbacks import policy, verdict
from tests.unit.test_reconciler_reposting import row

RULES = policy(free=("real-free",))
GRACE = timedelta(minutes=15)
LATER = datetime(2026, 12, 1, tzinfo=UTC)


def receipt_of(callback: bytes) -> Known | None:
    """What the books have when a callback was consumed; None where they keep nothing."""
    match verdict(callback, RULES):
        case Charge(receipt):
            return Known(
                receipt.call_key, receipt.litellm_call_id, receipt.response_id,
                Entry.RECEIPT, receipt.response_cost_usd,
            )  # fmt: skip
        case Deferred() as one:
            return Known(one.call_key, one.litellm_call_id, one.response_id, Entry.DEFERRAL)
    return None


def captured(version: str) -> list[SpendLog]:
    """All captured rows."""
    rows = [read_row(sent) for sent in captures.rows(version)]
    return [row for row in rows if isinstance(row, SpendLog)]


def compared(*rows: SpendLog, known: tuple[Known, ...] = (), now: datetime = LATER) -> Compared:
    """What becomes of the last of `rows`."""
    return compare(rows, Books(known), now, GRACE, RULES)[-1]


KNOWN = Known("call-1|chatcmpl-1", "call-1", "chatcmpl-1", Entry.RECEIPT, Decimal("0.000036"))


@pytest.mark.parametrize("version", captures.VERSIONS)
def test_every_captured_call_is_found_by_its_callback(version: str) -> None:
    rows = captured(version)
    known = [one for each in captures.callbacks(version) if (one := receipt_of(each))]
    found = compare(rows, Books(known), LATER, GRACE, RULES)
    verdicts = [one.verdict for one in found]
    assert verdicts.count(Verdict.MATCHED) == 29
    assert verdicts.count(Verdict.DEFERRED) == 1
    assert verdicts.count(Verdict.COSTS_NOTHING) == 3
    assert {one.reason for one in found} == {None, SkippedReason.FAILED_CALL}


@pytest.mark.parametrize("version", captures.VERSIONS)
def test_every_captured_call_without_its_callback_is_missing_but_for_the_cache_hit(
    version: str,
) -> None:
    rows = captured(version)
    found = compare(rows, Books(()), LATER, GRACE, RULES)
    missing = [one for one in found if one.verdict is Verdict.MISSING]
    assert len(missing) == 29
    (hit,) = [one for one in found if one.verdict is Verdict.UNIDENTIFIED]
    assert hit.reason is Unidentified.CACHE_HIT
    assert hit.row.spend == 0
    # What is posted for them is found the next time.
    again = [one for each in missing if (one := receipt_of(callback_of(each.row)))]
    later = compare([one.row for one in missing], Books(again), LATER, GRACE, RULES)
    assert {one.verdict for one in later} == {Verdict.MATCHED, Verdict.DEFERRED}


def test_amounts_of_16_and_17_digits_match_and_others_differ_by_what_they_say() -> None:
    digits = msgspec.structs.replace(KNOWN, cost=Decimal("0.00033000000000000005"))
    assert compared(row(spend=0.0003300000000000001), known=(digits,)).verdict is Verdict.MATCHED
    other = compared(row(spend=0.5), known=(KNOWN,))
    assert (other.verdict, other.difference) == (Verdict.DIFFERS, Decimal("0.499964"))
    assert other.known == KNOWN
    nothing = compared(row(spend=None), known=(KNOWN,))
    assert (nothing.verdict, nothing.difference) == (Verdict.DIFFERS, Decimal("-0.000036"))
    assert compared(row(), known=(KNOWN,)).difference == 0


def test_a_cost_that_a_person_has_set_is_not_compared() -> None:
    by_hand = msgspec.structs.replace(KNOWN, cost=None)
    assert compared(row(spend=7), known=(by_hand,)).verdict is Verdict.MATCHED


@pytest.mark.parametrize(
    ("entry", "becomes"),
    [(Entry.DEFERRAL, Verdict.DEFERRED), (Entry.DEAD_LETTER, Verdict.DEAD_LETTER)],
)
def test_what_waits_in_the_books_is_not_missing(entry: Entry, becomes: Verdict) -> None:
    waits = Known("call-1|chatcmpl-1", "call-1", "chatcmpl-1", entry)
    assert compared(row(), known=(waits,)).verdict is becomes
    assert compared(row(), known=(waits, KNOWN)).verdict is Verdict.MATCHED
    assert compared(row(), known=(KNOWN, waits)).verdict is Verdict.MATCHED


def test_a_call_is_missing_when_the_grace_after_its_end_is_over() -> None:
    ended = row().ended
    assert compared(row(), now=ended + GRACE).verdict is Verdict.MISSING
    assert compared(row(), now=ended + GRACE - timedelta(milliseconds=1)).verdict is (
        Verdict.TOO_YOUNG
    )
    assert compared(row(), known=(KNOWN,), now=ended).verdict is Verdict.MATCHED
    # A long call is as young as its end.
    assert compared(row(endTime=None), now=ended + GRACE).verdict is Verdict.MISSING


def test_what_the_decision_skips_costs_nothing_however_young_it_is() -> None:
    nothing = {"spend": 0, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    cases = {
        SkippedReason.FAILED_CALL: row(status="failure", **nothing),
        SkippedReason.NOT_BILLABLE: row(call_type="acreate_file", **nothing),
        SkippedReason.NO_USAGE: row(call_type="anything", **nothing),
        SkippedReason.SELF_TEST: row(model="litellm-mock-response-model"),
    }
    for reason, found in cases.items():
        one = compared(found, now=found.ended)
        assert (one.verdict, one.reason) == (Verdict.COSTS_NOTHING, reason)


def test_a_stream_that_broke_a_health_probe_and_a_free_model_are_missing() -> None:
    probe = {"user_api_key_alias": "litellm-internal-health-check"}
    for found in (
        row(status="failure"),
        row(metadata=probe),
        row(model_group="real-free", spend=0),
    ):
        assert compared(found).verdict is Verdict.MISSING


def test_a_repeated_response_id_is_not_taken_for_another_call() -> None:
    other = msgspec.structs.replace(KNOWN, call_key="call-2|chatcmpl-1", litellm_call_id="call-2")
    assert compared(row(), known=(other,)).verdict is Verdict.MISSING


def test_a_row_without_a_call_id_is_found_by_its_response_and_never_posted() -> None:
    bare = row(litellm_call_id=None, metadata={})
    one = compared(bare)
    assert (one.verdict, one.reason) == (Verdict.UNIDENTIFIED, Unidentified.NO_CALL_ID)
    dearer = msgspec.structs.replace(KNOWN, call_key="call-0|chatcmpl-1", cost=Decimal(9))
    assert compared(bare, known=(dearer, KNOWN)).verdict is Verdict.MATCHED
    assert compared(bare, known=(dearer,)).verdict is Verdict.DIFFERS


def test_a_cache_hit_is_found_whatever_time_its_id_ends_with() -> None:
    hit = row(request_id="chatcmpl-9_cache_hit1795670736.605", cache_hit="True", spend=0)
    own = Known(
        "call-1|chatcmpl-9_cache_hit1795670736.6008964", "call-1",
        "chatcmpl-9_cache_hit1795670736.6008964", Entry.RECEIPT, Decimal(0),
    )  # fmt: skip
    assert compared(hit, known=(own,)).verdict is Verdict.MATCHED
    for name in ("call_key", "litellm_call_id", "response_id"):
        other = msgspec.structs.replace(own, **{name: "another"})
        expected = Verdict.MATCHED if name == "call_key" else Verdict.UNIDENTIFIED
        assert compared(hit, known=(other,)).verdict is expected


def test_a_background_response_is_never_posted_and_found_by_its_create() -> None:
    nothing = {"spend": 0, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    create = row(call_type="aresponses", **nothing)
    one = compared(create)
    assert (one.verdict, one.reason) == (Verdict.UNIDENTIFIED, Unidentified.BACKGROUND)
    waits = Known("call-1|chatcmpl-1", "call-1", "chatcmpl-1", Entry.DEFERRAL)
    assert compared(create, known=(waits,)).verdict is Verdict.DEFERRED
    result = msgspec.structs.replace(KNOWN, call_key="result||abc")
    assert compared(create, known=(waits, result)).verdict is Verdict.MATCHED
    read = compared(row(call_type="aget_responses"))
    assert (read.verdict, read.reason) == (Verdict.UNIDENTIFIED, Unidentified.BACKGROUND)


def test_ONE_CALL_ONE_RECEIPT_WHICHEVER_PATH_what_is_posted_has_a_key_that_was_asked_for() -> None:
    for version in captures.VERSIONS:
        for found in captured(version):
            if compared(found).verdict is Verdict.MISSING:
                own = receipt_of(callback_of(found))
                assert own is not None
                assert compared(found, known=(own,)).verdict is not Verdict.MISSING
                assert RECONCILER.encode() in callback_of(found)
