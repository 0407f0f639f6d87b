"""Outcomes and reasons: the same words in the code, in the tables and in what is counted."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

from charging.outcomes import (
    ConflictReason,
    DeferredReason,
    DuplicateReason,
    OutcomeKind,
    Resolution,
    SkippedReason,
    UnitReason,
)
from consumer import metrics
from schemas.headers import Reason
from schemas.receipt import ChargeReason

ROOT = Path(__file__).parents[2]
SCHEMA = (ROOT / "ledger" / "schema.sql").read_text("utf-8")


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        ("charge_receipts_charge_reason_check", ChargeReason),
        ("deferred_calls_reason_check", DeferredReason),
    ],
)
def test_the_tables_take_every_reason_and_no_other(constraint: str, words: type[StrEnum]) -> None:
    [line] = re.findall(rf"CONSTRAINT {constraint} CHECK (.+)", SCHEMA)
    assert set(re.findall(r"'(\w+)'", line)) == {str(word) for word in words}


def test_every_kind_of_record_but_usage_units_is_counted_by_its_name() -> None:
    [family] = metrics.RECORDS.collect()
    for kind in set(OutcomeKind) - {OutcomeKind.UNIT}:
        assert re.search(rf"\b{kind}\b", family.documentation)


def test_a_word_is_written_as_itself_wherever_it_goes() -> None:
    """Labels, messages and columns hold the text, never the name of the member."""
    every = (
        *OutcomeKind,
        *DeferredReason,
        *SkippedReason,
        *DuplicateReason,
        *ConflictReason,
        *UnitReason,
        *Resolution,
        *Reason,
    )
    for word in every:
        assert str(word) == f"{word}" == word.value == word.name.lower()
