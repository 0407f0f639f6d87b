"""Money is credits and US dollars: no other unit stands in the code that counts it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = sorted(
    path
    for room in ("ledger", "charging", "schemas")
    for ending in ("py", "sql")
    for path in (ROOT / room).rglob(f"*.{ending}")
)
OTHER_UNIT = re.compile(r"(?<![a-z])cents?(?![a-z])", re.IGNORECASE)


def test_the_code_that_counts_money_is_found() -> None:
    assert {"credits.py", "money.py", "schema.sql", "post_credit_entry.sql"} <= {
        path.name for path in CODE
    }


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_MONEY_IS_EXACT_no_amount_is_counted_in_cents(path: Path) -> None:
    assert OTHER_UNIT.findall(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("balance_cents bigint", True),
        ("a CENT", True),
        ("cents", True),
        ("price_cent", True),
        ("percentile_cont, recent, central, per cent", True),
        ("percentile_cont, recent, central, percent, innocents", False),
    ],
)
def test_the_word_is_found_as_a_part_of_a_name(text: str, found: bool) -> None:  # noqa: FBT001 - pytest's
    assert bool(OTHER_UNIT.search(text)) is found
