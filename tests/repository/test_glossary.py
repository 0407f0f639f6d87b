"""The glossary has every word that a person meets in labels, columns and marks, once, in order."""

import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final, get_args

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
from charging.settlement import CHARGES
from consumer.start import Reset
from docs.generate import DOCUMENTS
from ledger.gap import Cause
from schemas.headers import Reason
from schemas.receipt import ChargeReason
from tests.repository.test_docs import PAGES, ROOT, rows

GLOSSARY: Final = "docs/glossary.md"
HEADER: Final = "| word | what it means | where you see it |"
REASONS: Final = (
    *(DeferredReason, SkippedReason, DuplicateReason, ConflictReason, UnitReason, Resolution),
    *(Reason, ChargeReason),
)


def words() -> list[str]:
    """The words of the glossary, as they stand."""
    return [word for word, _, _ in rows(GLOSSARY, HEADER)]


def defined() -> set[str]:
    """The words of the glossary, without the marks of code."""
    return {word.replace("`", "") for word in words()}


@pytest.mark.parametrize("enumeration", REASONS, ids=lambda one: str(one.__name__))
def test_every_reason_is_defined(enumeration: type[StrEnum]) -> None:
    assert {str(word) for word in enumeration} <= defined()


def test_every_outcome_every_cause_and_every_mark_is_defined() -> None:
    marks = {
        mark
        for row in rows("docs/subscribers.md", "| mark | means |")
        for mark in re.findall(r"`(\w+)`", row[0])
    }
    outcomes = {str(kind) for kind in OutcomeKind} - {OutcomeKind.UNIT}
    assert marks | outcomes | {*get_args(Reset), *get_args(Cause)} <= defined()
    (row,) = [row for row in rows(GLOSSARY, HEADER) if row[0] == "cost source"]
    assert set(re.findall(r"`(\w+)`", row[1])) == set(CHARGES)


def order(word: str) -> tuple[str, bool]:
    """Where a word stands: by its letters; the plain word before the code of the same letters."""
    return re.sub(r"[_-]", " ", word.replace("`", "")).lower(), "`" in word


def test_the_words_are_in_order_and_each_stands_once() -> None:
    assert words() == sorted(set(words()), key=order)


def test_each_word_has_one_sentence_and_a_place() -> None:
    for word, sentence, place in rows(GLOSSARY, HEADER):
        assert re.fullmatch(r"[A-Z][^.]*(\.\d[^.]*)*\.", sentence), f"{word}: no single sentence"
        assert place, word


def texts() -> Iterator[tuple[str, str]]:
    """What people read: the pages, the alerts, what is generated from the code."""
    for page, text in PAGES.items():
        yield str(page.relative_to(ROOT)), text
    for path, make in DOCUMENTS.items():
        yield str(path), make()
    alerts = Path("deploy/prometheus/alerts.yml")
    yield str(alerts), (ROOT / alerts).read_text()


def test_a_word_that_was_given_up_is_used_nowhere() -> None:
    for name, text in texts():
        assert not re.search(r"\bhouse\s+account\b", text, re.IGNORECASE), name
