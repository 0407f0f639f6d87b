"""The figures of docs/finance.md are those that the code computes."""

import re
from decimal import Decimal
from pathlib import Path

from charging.money import CREDITS_PER_USD, charge, summed, trimmed
from ledger.queries import query
from ledger.schema import __file__ as ledger_file
from operator_cli.checksum import COLUMNS, FORM

PAGE = Path(__file__).parents[2] / "docs" / "finance.md"
HEADER = "| cost USD | markup | charged USD |"


def tables() -> list[list[list[str]]]:
    """The cells of the worked examples, without their headers."""
    found: list[list[list[str]]] = []
    lines = iter(PAGE.read_text("utf-8").splitlines())
    for line in lines:
        if line.startswith(HEADER):
            next(lines)
            found.append([])
            for row in lines:
                if not row.startswith("|"):
                    break
                found[-1].append([cell.strip(" *") for cell in row.strip("|").split("|")])
    return found


def test_every_worked_receipt_and_every_sum_is_right() -> None:
    assert [len(rows) for rows in tables()] == [4, 4]
    for rows in tables():
        charged, credits_ = [], 0
        for cost, markup, usd, exact, credited in rows[:-1]:
            charged_usd, whole = charge(Decimal(cost), Decimal(markup))
            assert (trimmed(charged_usd), str(whole)) == (usd, credited)
            assert trimmed(charged_usd * CREDITS_PER_USD) == exact
            charged.append(charged_usd)
            credits_ += whole
        last = rows[-1]
        assert last[0] == trimmed(summed(Decimal(row[0]) for row in rows[:-1]))
        assert last[2] == trimmed(summed(charged))
        assert last[3] == trimmed(summed(charged) * CREDITS_PER_USD)
        assert last[4] == str(credits_)


def test_a_poem_of_37_and_a_half_credits_is_charged_39() -> None:
    poem = tables()[0][-1]
    assert poem[3:] == ["37.5", "39"]
    assert "37.5 credits by the sum of `charged USD`, and 39 credits on the invoice" in (
        PAGE.read_text("utf-8")
    )


def test_the_page_says_what_the_checksum_is_of() -> None:
    text = PAGE.read_text("utf-8")
    assert f'["{FORM}", account, month]' in text
    assert ", ".join(f'"{name}"' for name in COLUMNS) in text
    assert 'AS "charged USD"' in query("statement_receipts")


def test_every_column_of_the_view_is_told() -> None:
    schema = Path(ledger_file).with_name("schema.sql").read_text("utf-8")
    view = schema.partition("CREATE VIEW billing.spend AS\n SELECT ")[2].partition("FROM billing.")[
        0
    ]
    flat = " ".join(view.split())
    flat = re.sub(r"\([^()]*\)", "", re.sub(r"\([^()]*\)", "", flat))
    columns = [one.split()[-1].rpartition(".")[2] for one in flat.split(",")]
    told = PAGE.read_text("utf-8").partition("## The view billing.spend")[2]
    assert len(columns) == 36
    assert [column for column in columns if f"`{column}`" not in told] == []
