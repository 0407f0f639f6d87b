"""Digests of rows, and what of a seal fits which rows. The ledger's part is in integration."""

import re
from datetime import UTC, datetime
from decimal import Decimal

from ledger.queries import query
from ledger.rows import RECEIPT_TYPES, receipt_row
from ledger.seals import ENTRY_BYTES, NUMBERS, Kind, digest_of, seal_of
from ledger.verification import Problem, Row, Seal, compared
from tests.inputs.callbacks import decided, in_run

MOMENT = datetime(2026, 11, 28, tzinfo=UTC)
KIND: Kind = "receipts"


def columns(name: str) -> list[str]:
    """The columns that a statement names."""
    text = re.sub(r"--[^\n]*", "", query(name))
    listed = re.search(r"(?:SELECT|\()\s(.+?)(?:FROM|\)\s*FROM)", text, re.DOTALL)
    assert listed
    return [one.strip() for one in listed[1].split(",")]


def test_receipts_are_read_in_the_order_in_which_they_are_written() -> None:
    assert columns("receipts_to_verify") == ["created_at", *columns("copy_receipts")]


def test_the_places_of_decimal_numbers_are_those_of_the_columns() -> None:
    places = [at for at, kind in enumerate(RECEIPT_TYPES) if kind == "numeric"]
    assert list(NUMBERS["receipts"]) == places
    named = [name for name in columns("corrections_to_verify")[1:] if name.endswith("_usd")]
    found = columns("corrections_to_verify")[1:]
    assert [found[at] for at in NUMBERS["corrections"]] == named


def test_a_number_has_one_digest_however_it_is_spelled() -> None:
    call = decided(in_run(1))
    row = list(receipt_row(call.record, call.decision, None))  # type: ignore[arg-type]
    for one, other in (("1E+2", "100"), ("-0.0", "0.0"), ("1E-7", "0.0000001")):
        for place in NUMBERS[KIND]:
            spelled = [[*row[:place], Decimal(text), *row[place + 1 :]] for text in (one, other)]
            assert digest_of(KIND, spelled[0]) == digest_of(KIND, spelled[1])


def test_a_receipt_and_a_correction_with_the_same_values_differ() -> None:
    row = [Decimal(1)] * 40
    assert digest_of("receipts", row) != digest_of("corrections", row)


def sealed(*digests: bytes) -> Seal:
    """A seal of rows with these digests."""
    digest, entries = seal_of(digests)
    return Seal(MOMENT, 1, digest, entries, None)


def row(name: str) -> Row:
    """A row of that name."""
    return Row(MOMENT, digest_of(KIND, [name] * 40), [name])


def whats(rows: list[Row], *found: Seal) -> list[tuple[str, int]]:
    """What is wrong, and with how many rows."""
    problems: list[Problem] = list(compared(KIND, rows, found))
    return [(problem.what, problem.count) for problem in problems]


def test_rows_are_found_in_any_order_and_over_seals_of_one_moment() -> None:
    a, b, c = row("a"), row("b"), row("c")
    assert whats([c, a, b], sealed(a.digest, b.digest), sealed(c.digest)) == []


def test_what_differs_is_told_by_what_is_missing() -> None:
    a, b, c = row("a"), row("b"), row("c")
    both = sealed(a.digest, b.digest)
    assert whats([a, c], both) == [("altered", 1)]
    assert whats([a, b, c], both) == [("added", 1)]
    assert whats([a], both) == [("removed", 1)]
    assert whats([], both) == [("removed", 2)]
    assert whats([b, c, row("d")], both) == [("altered", 1), ("added", 1)]


def test_a_row_that_only_begins_like_the_sealed_one_is_not_it() -> None:
    a = row("a")
    alike = Row(MOMENT, a.digest[:ENTRY_BYTES] + bytes(24), ["forged"])
    assert whats([alike], sealed(a.digest)) == [("seal", 1)]
