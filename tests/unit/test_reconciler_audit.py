"""The audit adds up: each row is one thing, and every call that is to be looked at is named."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from charging.outcomes import SkippedReason
from ledger.reconciliation import State, WrittenReceipt
from reconciler.audit import Audit, What, what_of
from reconciler.comparison import Compared, Entry, Known, Verdict
from reconciler.reposting import Unidentified
from reconciler.row import OddRow
from reconciler.units import UnmatchedUnits
from schemas.headers import Reason
from tests.unit.test_reconciler_reposting import row

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def known(cost: str, *, contradicted: bool = False) -> Known:
    """A receipt of this cost."""
    amount = Decimal(cost)
    return Known("k", "c", "r", Entry.RECEIPT, amount, amount, UUID(int=1), contradicted)


def one(verdict: Verdict, spend: float | None = 0.25, **fields: object) -> Compared:
    """A row of this verdict."""
    return Compared(row(spend=spend), verdict, **fields)  # type: ignore[arg-type]


def audited(*rows: Compared, most: int = 10, states: dict[str, State] | None = None) -> Audit:
    """The audit of these rows."""
    found = Audit(most)
    found.add(rows, states or {})
    return found


def calls(found: Audit) -> dict[str, int]:
    """How many rows are what, where there are any."""
    return {line.what: line.calls for line in found.lines if line.calls}


def test_each_row_is_one_thing_and_their_sum_is_the_log() -> None:
    found = audited(
        one(Verdict.MATCHED, known=known("0.25")),
        one(Verdict.DEFERRED),
        one(Verdict.COSTS_NOTHING, 0, reason=SkippedReason.FAILED_CALL),
        one(Verdict.UNIDENTIFIED, reason=Reason.NO_USABLE_ID),
        one(Verdict.TOO_YOUNG),
    )
    assert calls(found) == {
        "receipts": 1,
        "deferred": 1,
        "skipped": 1,
        "dead letters": 1,
        "too young to say": 1,
        "LiteLLM log rows": 5,
    }
    assert found.balanced
    assert found.items == []
    total = next(line for line in found.lines if line.what == "LiteLLM log rows")
    assert (total.log_usd, total.receipts_usd) == (Decimal("1.00"), Decimal("0.25"))
    assert total.difference_usd == Decimal("0.75")


def test_what_is_missing_differs_or_cannot_be_read_is_named_and_keeps_it_from_balancing() -> None:
    for verdict in (Verdict.MISSING, Verdict.ELSEWHERE):
        found = audited(one(verdict))
        assert (found.balanced, [item.what for item in found.items]) == (False, [what(verdict)])
    found = audited(one(Verdict.DIFFERS, known=known("0.2")))
    assert not found.balanced
    [item] = found.items
    assert (item.difference_usd, item.request_id) == (Decimal("0.05"), "chatcmpl-1")
    found = Audit(10)
    found.unreadable([OddRow("odd", "spend is a text"), OddRow("odd", "spend is a text")])
    assert (found.balanced, calls(found)["unreadable rows"]) == (False, 1)


def what(verdict: Verdict) -> What:
    """What a row of a verdict is called."""
    return what_of(one(verdict))


def test_what_another_source_was_charged_for_is_no_cost_of_this_one() -> None:
    found = audited(one(Verdict.ELSEWHERE, known=known("0.25")))
    assert sum(line.receipts_usd for line in found.lines) == 0


def test_an_unidentified_row_without_a_cost_is_named_and_no_fault() -> None:
    assert not audited(one(Verdict.UNIDENTIFIED, reason=Unidentified.NO_CALL_ID)).balanced
    free = audited(one(Verdict.UNIDENTIFIED, 0, reason=Unidentified.CACHE_HIT))
    assert (free.balanced, len(free.items)) == (True, 1)


def test_what_a_person_has_closed_is_named_and_no_fault() -> None:
    closed = {"chatcmpl-1": State(None, NOON)}
    found = audited(one(Verdict.DIFFERS, known=known("0.2")), states=closed)
    assert (found.balanced, found.items[0].closed_at) == (True, NOON)


def test_a_contradicted_receipt_is_named_and_no_fault() -> None:
    found = audited(one(Verdict.MATCHED, known=known("0.25", contradicted=True)))
    assert (found.balanced, found.contradicted, len(found.items)) == (True, 1, 1)


def test_a_receipt_without_a_row_stands_beside_the_sum() -> None:
    found = audited(one(Verdict.MATCHED, known=known("0.25")))
    receipt = WrittenReceipt(UUID(int=2), "k", "c", "r", Decimal(3), NOON, "acct", "gpt")
    found.without_row(receipt)
    assert calls(found) == {"receipts": 1, "LiteLLM log rows": 1, "receipts without a row": 1}
    assert found.balanced


def test_the_list_is_bounded_and_the_counts_are_not() -> None:
    found = audited(*[one(Verdict.MISSING)] * 5, most=2)
    assert (len(found.items), found.items_left_out, found.faults) == (2, 3, 5)


def test_no_digit_is_lost_in_a_sum() -> None:
    small, large = Decimal("0.00000000000000000000001"), Decimal(10) ** 14
    found = audited(
        Compared(row(), Verdict.MATCHED, known=known(f"{large}")),
        Compared(row(), Verdict.MATCHED, known=known(f"{small}")),
    )
    assert found.lines[0].receipts_usd == Decimal("100000000000000.00000000000000000000001")


def test_a_unit_is_explained_by_a_row_of_its_call_under_any_id() -> None:
    def unit(number: int, call: str | None, response: str | None) -> dict[str, object]:
        return {"unit_id": number, "litellm_call_id": call, "response_id": response}

    units = UnmatchedUnits(
        [unit(1, "call-1", None), unit(2, None, "chatcmpl-1"), unit(3, "other", None)]
    )
    units.seen([row()])
    assert [one["unit_id"] for one in units.left] == [3]
