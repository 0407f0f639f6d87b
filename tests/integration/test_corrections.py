"""Corrections of receipts: in the books, by command, in every total."""

import csv
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from typer.testing import CliRunner

from charging.corrections import CorrectionError
from ledger.corrections import Corrections
from ledger.debits import CreditTerms
from ledger.receipts import ReceiptWriter
from operator_cli.__main__ import app
from operator_cli.checksum import Checksum
from schemas.correction import CorrectionReason, correction_id
from tests.databases.credit_rows import receipts_of
from tests.databases.writing import ROLE, write
from tests.inputs.callbacks import costing, decided, element
from tests.integration.corrected import balances, charged, correct
from tests.integration.moved_credits import THRESHOLDS, waiting
from tests.observers.ledger import Ledger as Tables
from tests.waiting import NET_SECONDS

Row = dict[str, Any]
BY = ("--by", "ada", "--reference")


@pytest.fixture
def ledger(migrated_database_url: str) -> Iterator[ReceiptWriter]:
    """The consumer's ledger, which debits what it charges."""
    with closing(ReceiptWriter(migrated_database_url, ROLE, CreditTerms())) as opened:
        yield opened


@pytest.fixture
def kept(migrated_database_url: str) -> Iterator[Corrections]:
    """Corrections, in the role of whoever writes receipts."""
    with closing(Corrections(migrated_database_url, ROLE, THRESHOLDS)) as opened:
        yield opened


def run(url: str, *arguments: str, code: int = 0) -> tuple[str, str]:
    """What a command of `billing` prints on both outputs."""
    environment = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": ""}
    done = CliRunner().invoke(app, arguments, env=environment)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def told(url: str, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    """What a command prints as JSON."""
    return json.loads(run(url, *arguments, "--json")[0])


def written(ledger: ReceiptWriter, tables: Tables, cost: str = "0.00000125") -> UUID:
    """A receipt of `acct-1`, in the ledger; its id."""
    assert write(ledger, decided(costing(cost))) == ["created usage"]
    [row] = tables.receipts()
    return UUID(str(row["id"]))


def test_a_correction_is_a_row_an_entry_and_an_event_or_nothing(
    ledger: ReceiptWriter, kept: Corrections, tables: Tables, migrated_database_url: str
) -> None:
    url, receipt = migrated_database_url, written(ledger, tables)
    assert balances(url) == {"acct-1": -13}
    done = correct(kept, receipt, amount="-0.00000005")
    assert done.created
    # A ledger that has lost it has the same one again, which subscribers know.
    assert done.correction.id == correction_id("one")
    assert (done.correction.number, done.correction.amount_credits) == (1, -1)
    assert balances(url) == {"acct-1": -12}
    assert charged(url) == {"acct-1": (Decimal("0.0000012"), 12)}
    # What the receipt says stays as it is.
    assert [row["charged_credits"] for row in tables.receipts()] == [13]
    assert [kind for _, kind, _ in waiting(url)] == ["topped_up", "corrected"]
    for amount, to in (("-0.0000013", None), ("0", None), (None, "-1")):
        with pytest.raises(CorrectionError):
            correct(kept, receipt, amount, to=to, reference="two")
    with pytest.raises(CorrectionError, match="no receipt"):
        correct(kept, uuid4(), to="0", reference="two")
    assert balances(url) == {"acct-1": -12}
    assert len(waiting(url)) == 2
    assert run(url, "credit", "audit")[0].strip().endswith("none")


def test_one_reference_is_one_correction(
    ledger: ReceiptWriter, kept: Corrections, tables: Tables, migrated_database_url: str
) -> None:
    receipt = written(ledger, tables)
    first = correct(kept, receipt, amount="-0.0000005").correction
    for amount, to in (("-5E-7", None), (None, "0.00000075")):
        repeated = correct(kept, receipt, amount, to=to)
        assert (repeated.created, repeated.correction) == (False, first)
    for amount, to in (("-0.0000004", None), (None, "0")):
        with pytest.raises(CorrectionError, match="stands for a correction"):
            correct(kept, receipt, amount, to=to)
    with pytest.raises(CorrectionError, match="stands for a correction"):
        correct(kept, receipt, "-0.0000005", reason=CorrectionReason.REFUND)
    with pytest.raises(CorrectionError, match="stands for a correction"):
        correct(kept, uuid4(), "-0.0000005")
    assert len(kept.listed(None, None, 9).rows) == 1
    assert balances(migrated_database_url) == {"acct-1": -8}


def test_sessions_that_correct_one_receipt_at_once_take_no_more_than_it_charges(
    ledger: ReceiptWriter, tables: Tables, migrated_database_url: str
) -> None:
    receipt = written(ledger, tables, "0.00001")

    def take(number: int) -> bool:
        with closing(Corrections(migrated_database_url, ROLE)) as own:
            try:
                # Each reference is asked for twice.
                return correct(own, receipt, "-0.000003", reference=f"r{number // 2}").created
            except CorrectionError:
                return False

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(take, range(16), timeout=NET_SECONDS))
    assert sum(found) == 3
    assert charged(migrated_database_url) == {"acct-1": (Decimal("0.000001"), 10)}
    assert balances(migrated_database_url) == {"acct-1": -10}


def test_what_was_never_debited_is_not_given_back(
    kept: Corrections, tables: Tables, migrated_database_url: str
) -> None:
    url = migrated_database_url
    with psycopg.connect(url) as admin:
        receipts_of(admin, "acme", [500], None)
    [row] = tables.receipts()
    correct(kept, row["id"], to="0")
    assert balances(url) == {}
    assert charged(url) == {"acme": (Decimal(0), 0)}
    assert [kind for _, kind, _ in waiting(url)] == ["corrected"]
    assert told(url, "credit", "audit") == []


def test_late_usage_of_a_call_that_cost_nothing_opens_the_account(
    kept: Corrections, ledger: ReceiptWriter, tables: Tables, migrated_database_url: str
) -> None:
    value = element(response_cost=0, cache_hit=True)
    assert write(ledger, decided(value)) == ["created cache_hit"]
    [row] = tables.receipts()
    assert balances(migrated_database_url) == {}
    correct(kept, row["id"], "0.0000002", reason=CorrectionReason.LATE_USAGE)
    assert balances(migrated_database_url) == {"acct-1": -2}


def test_the_audit_names_a_correction_without_its_entry(
    ledger: ReceiptWriter, kept: Corrections, tables: Tables, migrated_database_url: str
) -> None:
    receipt, url = written(ledger, tables), migrated_database_url
    correct(kept, receipt, to="0")
    with psycopg.connect(url) as admin:
        admin.execute("ALTER TABLE billing.credit_entries DISABLE TRIGGER append_only")
        admin.execute("DELETE FROM billing.credit_entries WHERE reason = 'correction'")
        admin.execute("UPDATE billing.credit_accounts SET balance = -13")
    rows = json.loads(run(url, "credit", "audit", "--json", code=1)[0])
    assert [(one["figure"], one["stands"], one["should be"]) for one in rows] == [
        ("correction", 0, 13)
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing.receipt_corrections SET amount_usd = 0",
        "DELETE FROM billing.receipt_corrections",
        "TRUNCATE billing.receipt_corrections",
    ],
)
def test_nobody_changes_a_correction(
    ledger: ReceiptWriter,
    kept: Corrections,
    tables: Tables,
    migrated_database_url: str,
    statement: str,
) -> None:
    correct(kept, written(ledger, tables), to="0")
    with (
        psycopg.connect(migrated_database_url) as admin,
        pytest.raises(psycopg.errors.RestrictViolation),
    ):
        admin.execute(statement.encode())


def in_months(url: str, receipt: UUID, times: list[str]) -> None:
    """Say that the corrections of a receipt were made at other times."""
    with psycopg.connect(url) as admin:
        admin.execute("ALTER TABLE billing.receipt_corrections DISABLE TRIGGER append_only")
        for number, at in enumerate(times, 1):
            admin.execute(
                "UPDATE billing.receipt_corrections SET created_at = %s"
                " WHERE charge_receipt_id = %s AND number = %s",
                [at, receipt, number],
            )


def test_a_correction_counts_in_the_month_in_which_it_is_made_and_a_closed_month_stays(
    ledger: ReceiptWriter, kept: Corrections, tables: Tables, migrated_database_url: str
) -> None:
    url, receipt = migrated_database_url, written(ledger, tables)
    began = "2026-11"
    before = told(url, "statement", "acct-1", began)
    correct(kept, receipt, amount="-0.00000025", reference="one")
    correct(kept, receipt, to="0", reference="two")
    in_months(url, receipt, ["2026-12-03T10:00:00+00", "2026-12-31T23:59:59+00"])
    assert told(url, "statement", "acct-1", began) == before
    found = told(url, "statement", "acct-1", "2026-12")
    assert [row["reason"] for row in found["receipts"]] == ["price", "price"]
    assert [row["credits"] for row in found["receipts"]] == ["-3", "-10"]
    assert {row["receipt"] for row in found["receipts"]} == {str(receipt)}
    total = found["total"]
    assert (total["receipts"], total["corrections"]) == (0, 2)
    assert (total["charged USD"], total["credits"]) == ("-0.00000125", "-13")
    assert total["cost USD"] == "0"
    # The checksum is computed from the CSV, as the page says.
    printed, _ = run(url, "statement", "acct-1", "2026-12", "--csv")
    checksum = Checksum("acct-1", "2026-12")
    for row in csv.DictReader(io.StringIO(printed, newline="")):
        checksum.add(row)
    assert total["checksum"] == str(checksum)
    months = {
        name: told(url, "spend", "--from", since, "--to", until, "--by", "account,run")["total"]
        for name, since, until in (
            ("november", "2026-11-01", "2026-12-01"),
            ("december", "2026-12-01", "2027-01-01"),
            ("all", "2026-01-01", "2028-01-01"),
        )
    }
    figures = {
        name: (one["calls"], one["credits"], one["charged USD"]) for name, one in months.items()
    }
    assert figures == {
        "november": (1, "13", "0.00000125"),
        "december": (0, "-13", "-0.00000125"),
        "all": (1, "0", "0"),
    }


def test_every_report_has_the_corrections(
    ledger: ReceiptWriter, kept: Corrections, tables: Tables, migrated_database_url: str
) -> None:
    url, receipt = migrated_database_url, written(ledger, tables)
    correct(kept, receipt, amount="-0.00000025", reference="one")
    found = told(url, "report")
    [account] = found["accounts"]
    assert (account["receipts"], account["charged USD"], account["credits"]) == (
        1,
        "0.000001",
        "10",
    )
    [agent] = found["runs"]
    assert (agent["calls"], agent["charged USD"], agent["credits"]) == (1, "0.000001", "10")
    assert [(row["reason"], row["credits"]) for row in found["receipts"]] == [
        ("price", "-3"),
        ("usage", "13"),
    ]
    [call] = told(url, "explain", str(receipt))["calls"]
    assert (
        "Corrected by -0.00000025 USD (-3 credits), price, by ada under one: why. It charges "
        "0.000001 USD (10 credits) since."
    ) in call["says"]
    assert [one["number"] for one in call["corrections"]] == [1]
    with psycopg.connect(url) as admin:
        rows = admin.execute(
            "SELECT reason, amount, charge_receipt_id, run_id FROM billing.credit_ledger"
            " ORDER BY entry_id"
        ).fetchall()
    assert rows == [("charge_receipt", -13, receipt, "run-1"), ("correction", 3, receipt, "run-1")]


def test_a_person_corrects_a_receipt_and_sees_it(
    ledger: ReceiptWriter, tables: Tables, migrated_database_url: str
) -> None:
    url, receipt = migrated_database_url, written(ledger, tables)
    asked = ("correct", str(receipt), "--to", "0", "--reason", "refund", *BY, "ticket-12")
    said, _ = run(url, *asked, "--note", "broken answer")
    assert said == (
        f"corrected: refund of -0.00000125 USD (-13 credits) on receipt {receipt} of acct-1, "
        "reference ticket-12; it charges 0 USD (0 credits) then\n"
    )
    assert run(url, *asked)[0].startswith("corrected already: refund of -0.00000125 USD")
    again = ("correct", str(receipt), "--amount", "-1", "--reason", "refund", *BY, "ticket-13")
    assert "no receipt may charge less than nothing" in run(url, *again, code=1)[1]
    [row] = told(url, "correct", "list", "--receipt", str(receipt))
    assert (row["by"], row["note"], row["credits"]) == ("ada", "broken answer", "-13")
    assert told(url, "correct", "list", "--account", "globex") == []
    assert balances(url) == {"acct-1": 0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense", "--to", "0"], "a receipt is named by its id"),
        ([str(UUID(int=1)), "--to", "ten"], "an amount is US dollars"),
        ([str(UUID(int=1)), "--to", "NaN"], "never without end"),
        ([str(UUID(int=1))], "say one of --amount and --to"),
        ([str(UUID(int=1)), "--to", "0", "--amount", "1"], "say one of --amount and --to"),
    ],
)
def test_wrong_use_is_told(arguments: list[str], said: str) -> None:
    more = ("--reason", "refund", *BY, "x")
    assert said in run("postgresql://nowhere/x", "correct", *arguments, *more, code=2)[1]


def test_conflicts_and_twins_are_listed_with_what_decides_them_until_they_are_decided(
    ledger: ReceiptWriter, tables: Tables, migrated_database_url: str
) -> None:
    url = migrated_database_url
    call = {"litellm_call_id": "call-1"}
    values = [
        costing("0.5", **call, id="one"),
        costing("0.5", **call, id="two"),
        costing("0.25", **call, id="one"),
    ]
    found = [said for value in values for said in write(ledger, decided(value))]
    assert found[:2] == ["created usage", "created usage"]
    assert found[2].startswith("conflict")
    first, second = (
        next(row["id"] for row in tables.receipts() if row["response_id"] == name)
        for name in ("one", "two")
    )
    # Twins of any day: the made-up calls are of November 2026.
    every = ("correct", "open", "--days", "36500")
    rows = told(url, *every)
    assert [(row["what"], row["receipt"]) for row in rows] == [
        ("conflict", str(first)),
        ("twin", str(second)),
    ]
    period = ("statement", "acct-1", "2026-11")
    assert told(url, *period)["total"]["conflicts"] == 1
    for row in rows:
        words = row["command"].split()
        assert words[0] == "billing"
        run(url, *words[1:], "--by", "ada")
    assert told(url, *every) == []
    assert told(url, *period)["total"]["conflicts"] == 0
    assert charged(url) == {"acct-1": (Decimal("0.25"), 2_500_000)}
    assert balances(url) == {"acct-1": -2_500_000}
    # A further callback that contradicts it asks once more.
    assert write(ledger, decided(costing("0.75", **call, id="one")))[0].startswith("conflict")
    [row] = told(url, *every)
    assert "0.75" in row["command"]
    kept_as_it_is = row["command"].replace("--to 0.75", "--amount 0").split()[1:]
    run(url, *kept_as_it_is, "--by", "ada")
    assert told(url, *every) == []
    assert charged(url) == {"acct-1": (Decimal("0.25"), 2_500_000)}
