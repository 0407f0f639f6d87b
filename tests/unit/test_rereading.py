"""Events that subscribers have had are not published once more; all others are."""

from charging.outcomes import (
    Charge,
    DeferredReason,
    DuplicateReason,
    Outcome,
    OutcomeKind,
    UnitReason,
)
from ledger.rereading import first_new, without_published
from schemas.headers import Reason
from schemas.receipt import ChargeReason
from tests.inputs.callbacks import decided, element

BEFORE = {("billing.callbacks.v1", 1): 10}


def outcome(kind: OutcomeKind, reason: object, *, partition: int = 1, offset: int = 9) -> Outcome:
    """What became of a record, with its event where it has one."""
    one = decided(element(), partition=partition, offset=offset)
    assert isinstance(one.decision, Charge)
    has_event = reason in {ChargeReason.USAGE, DuplicateReason.REPLAYED}
    receipt = one.decision.receipt if has_event else None
    return Outcome(one, kind, reason, receipt)  # type: ignore[arg-type] # whichever it is


def test_what_was_published_before_is_a_duplicate_without_an_event() -> None:
    [found] = without_published([outcome(OutcomeKind.DUPLICATE, DuplicateReason.REPLAYED)], BEFORE)
    assert (found.outcome, found.reason) == (OutcomeKind.DUPLICATE, DuplicateReason.RECEIPT)
    assert found.receipt is None


def test_NOTHING_VANISHES_everything_else_stays_as_it_is() -> None:
    others = [
        outcome(OutcomeKind.CREATED, ChargeReason.USAGE),
        outcome(OutcomeKind.DUPLICATE, DuplicateReason.REPLAYED, offset=10),
        outcome(OutcomeKind.DUPLICATE, DuplicateReason.REPLAYED, partition=2),
        outcome(OutcomeKind.DUPLICATE, DuplicateReason.RECEIPT),
        outcome(OutcomeKind.PARKED, Reason.CONTRACT_BROKEN),
    ]
    assert without_published(others, BEFORE) == others


def test_what_the_ledger_has_only_now_tells_where_other_records_stand() -> None:
    created = (OutcomeKind.CREATED, ChargeReason.USAGE)
    found = [
        outcome(OutcomeKind.DUPLICATE, DuplicateReason.REPLAYED, offset=3),
        outcome(*created, offset=7),
        outcome(*created, offset=6),
        outcome(OutcomeKind.UNIT, UnitReason.KNOWN, offset=2),
        outcome(OutcomeKind.DUPLICATE, DuplicateReason.DEFERRED, offset=2),
        outcome(*created, offset=10),
        outcome(*created, partition=2, offset=1),
        outcome(OutcomeKind.PARKED, Reason.CONTRACT_BROKEN, offset=4),
    ]
    assert first_new(found, BEFORE) == {("billing.callbacks.v1", 1): 6}
    for new in [
        outcome(OutcomeKind.DEFERRED, DeferredReason.MISSING_COST, offset=5),
        outcome(OutcomeKind.UNIT, UnitReason.NEW, offset=5),
    ]:
        assert first_new([*found, new], BEFORE) == {("billing.callbacks.v1", 1): 5}
    assert first_new(found, {}) == {}
