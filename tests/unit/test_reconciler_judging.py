"""By what rows are looked for in the books, and how their answers are taken."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from ledger.reconciliation import KnownCall
from reconciler.comparison import Entry
from reconciler.judging import asked_of, known_of
from reconciler.reconciling import latencies
from tests.unit.test_reconciler_reposting import row

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def call(**fields: object) -> KnownCall:
    """A receipt of the books."""
    whole: dict[str, object] = {
        "receipt": UUID(int=1),
        "source_system": "litellm",
        "call_key": "k",
        "litellm_call_id": "c",
        "response_id": "r",
        "cost": Decimal("0.25"),
        "cost_source": "litellm",
        "run_id": "run",
        "occurred_at": NOON,
        "written_at": NOON,
        "contradicted": False,
    }
    return KnownCall(**{**whole, **fields})  # type: ignore[arg-type]


def test_each_row_is_looked_for_by_one_name() -> None:
    asked = asked_of([
        row(),
        row(litellm_call_id=None, metadata={}, request_id="chatcmpl-of-an-old-proxy"),
        row(cache_hit="True", litellm_call_id="hit", request_id="a_cache_hit1.5"),
        row(litellm_call_id="odd\0", request_id="x" * 3_000),
    ])  # fmt: skip
    assert asked.keys[0] == "call-1|chatcmpl-1"
    assert (asked.responses, asked.calls) == (["chatcmpl-of-an-old-proxy"], ["hit"])
    # What PostgreSQL would refuse is asked for in the form that the tables have.
    assert len(asked.keys) == 2
    assert "\0" not in asked.keys[1]
    assert len(asked.keys[1]) < 1_024


def test_a_cost_that_a_person_has_set_is_billed_and_compared_with_nothing() -> None:
    known = known_of(call(cost_source="operator"))
    assert (known.cost, known.billed) == (None, Decimal("0.25"))
    assert known_of(call()).cost == Decimal("0.25")


@pytest.mark.parametrize(("receipt", "entry"), [(UUID(int=1), "receipt"), (None, "deferral")])
def test_what_has_no_receipt_is_a_deferral(receipt: UUID | None, entry: str) -> None:
    assert known_of(call(receipt=receipt, cost=None)).entry == Entry(entry)


def test_the_latency_of_a_run_is_from_its_last_end_to_its_last_receipt() -> None:
    later, last = NOON.replace(minute=1), NOON.replace(minute=10)
    found = latencies([
        call(),
        call(occurred_at=later, written_at=last),
        call(occurred_at=NOON.replace(second=30), written_at=NOON.replace(minute=9)),
        call(run_id="other", written_at=later),
    ])  # fmt: skip
    assert found == [540.0, 60.0]
