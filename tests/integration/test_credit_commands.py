"""What an operator does with credits: `billing credit`, `accounts` and `holds`."""

import csv
import io
import json
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from ledger.accounts import MOST
from operator_cli.__main__ import app
from tests.databases.credit_rows import debit, hold, receipts_of

NOTE = ("--note", "order 4711", "--by", "ada")
Rows = list[dict[str, Any]]


def run(url: str, *arguments: str, code: int = 0) -> tuple[str, str]:
    """What a command of `billing` prints on both outputs."""
    environment = {"DATABASE_URL": url, "KAFKA_BOOTSTRAP_SERVERS": ""}
    done = CliRunner().invoke(app, arguments, env=environment)
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def told(url: str, *arguments: str, code: int = 0) -> Rows:
    """What a command prints as JSON."""
    rows: Rows = json.loads(run(url, *arguments, "--json", code=code)[0])
    return rows


def test_a_grant_opens_an_account_and_says_it_in_credits_and_dollars(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    said, _ = run(url, "credit", "grant", "acme", "12.5000001", *NOTE, "--reference", "one")
    assert said == (
        "posted: grant of 125000001 credits (12.5000001 USD) to acme, reference one; balance "
        "125000001 credits (12.5000001 USD); the account is new: prepaid\n"
    )
    said, _ = run(url, "credit", "grant", "acme", "12.5000001", *NOTE, "--reference", "one")
    assert said.startswith("posted already: grant of 125000001 credits")
    [row] = told(url, "credit", "grant", "acme", "12.5000001", *NOTE, "--reference", "one")
    assert (row["done"], row["amount"], row["amount USD"]) == (
        "posted already", 125_000_001, "12.5000001",
    )  # fmt: skip
    assert (row["by"], row["note"], row["reference"]) == ("ada", "order 4711", "one")
    [account] = told(url, "accounts")
    assert (account["account"], account["balance"]) == ("acme", 125_000_001)


def test_without_a_reference_each_call_is_a_movement_of_its_own(migrated_database_url: str) -> None:
    url = migrated_database_url
    for what, amount in (("grant", "1"), ("grant", "1"), ("refund", "0.25"), ("write-off", "3")):
        run(url, "credit", what, "acme", amount, "--reason", "asked for")
    rows = told(url, "credit", "entries", "acme")
    assert [(row["reason"], row["amount USD"], row["balance USD"]) for row in rows] == [
        ("write_off", "3", "5.25"),
        ("refund", "0.25", "2.25"),
        ("grant", "1", "2"),
        ("grant", "1", "1"),
    ]
    assert len({row["reference"] for row in rows}) == len(rows)
    assert all(row["by"] and row["note"] == "asked for" for row in rows)


def test_a_correction_may_take_credits(migrated_database_url: str) -> None:
    url = migrated_database_url
    run(url, "credit", "grant", "acme", "1", *NOTE)
    said, _ = run(url, "credit", "correct", "acme", "-1.5", *NOTE)
    assert "correction of -15000000 credits (-1.5 USD) to acme" in said
    run(url, "credit", "correct", "acme", "0.25", *NOTE)
    assert told(url, "accounts")[0]["balance USD"] == "-0.25"
    run(url, "credit", "correct", "acme", "-0.00000001", *NOTE, code=2)
    run(url, "credit", "refund", *NOTE, "--", "acme", "-1", code=2)
    run(url, "credit", "correct", "acme", "-1", "--nte", "a slip", *NOTE, code=2)


@pytest.mark.parametrize(
    "amount", ["0.00000001", "12.34567891", "0", "-0", "NaN", "Infinity", "ten", "1e30", "", "1,5"]
)
def test_an_amount_that_is_no_whole_number_of_credits_is_refused(
    migrated_database_url: str, amount: str
) -> None:
    _, said = run(migrated_database_url, "credit", "grant", "acme", amount, *NOTE, code=2)
    assert said.startswith("error: ") or "No such option" in said
    assert told(migrated_database_url, "accounts") == []


def test_what_the_ledger_refuses_ends_with_its_reason(migrated_database_url: str) -> None:
    url = migrated_database_url
    assert "no account 'acme'" in run(url, "credit", "refund", "acme", "1", *NOTE, code=1)[1]
    run(url, "credit", "grant", "acme", "1", *NOTE, "--reference", "one")
    _, said = run(url, "credit", "grant", "acme", "2", *NOTE, "--reference", "one", code=1)
    assert "reference 'one' stands for a grant of 10000000 credits to 'acme'" in said
    _, said = run(url, "credit", "grant", "acme", str(MOST // 10**7), *NOTE, code=1)
    assert "would be over" in said
    run(url, "credit", "grant", " ", "1", *NOTE, code=2)
    run(url, "credit", "grant", "acme", "1", code=2)


def test_a_movement_whose_end_is_unknown_can_be_asked_for_again(
    migrated_database_url: str,
) -> None:
    url = migrated_database_url
    with psycopg.connect(url) as admin:
        admin.execute("ALTER TABLE billing.credit_entries RENAME TO away")
    _, said = run(url, "credit", "grant", "acme", "1", *NOTE, code=1)
    assert "to ask for it again, and not for a second one: --reference " in said
    odd = ("--reference", "order [/4711]")
    assert odd[1] in run(url, "credit", "grant", "acme", "1", *NOTE, *odd, code=1)[1]


def test_a_limit_opens_an_account_and_changes_how_it_pays(migrated_database_url: str) -> None:
    url = migrated_database_url
    said, _ = run(url, "credit", "limit", "acme", "--postpaid", "--limit", "500")
    assert said == "opened acme: post-paid, to 5000000000 credits (500 USD) below zero\n"
    assert told(url, "accounts")[0]["available USD"] == "500"
    said, _ = run(url, "credit", "limit", "acme", "--postpaid", "--no-limit")
    assert said == "changed acme: post-paid, without a limit\n"
    [account] = told(url, "accounts")
    assert (account["limit"], account["available"], account["available USD"]) == (None, None, None)
    [row] = told(url, "credit", "limit", "acme", "--prepaid")
    assert row == {
        "account": "acme", "done": "changed", "kind": "prepaid", "limit": 0, "limit USD": "0",
    }  # fmt: skip


def test_who_has_set_a_limit_is_kept(migrated_database_url: str) -> None:
    url = migrated_database_url
    run(url, "credit", "limit", "acme", "--prepaid", "--by", "ann")
    run(url, "credit", "limit", "globex", "--postpaid", "--no-limit", "--by", "bob")
    why = ("--note", "contract", "--by", "ann")
    run(url, "credit", "limit", "acme", "--postpaid", "--limit", "5", *why)
    told_of = [
        (row["account"], row["kind"], row["limit USD"], row["by"], row["note"])
        for row in told(url, "credit", "limits")
    ]
    assert told_of == [
        ("acme", "postpaid", "5", "ann", "contract"),
        ("globex", "postpaid", None, "bob", ""),
        ("acme", "prepaid", "0", "ann", ""),
    ]
    shown, _ = run(url, "credit", "limits", "acme", "--limit", "1")
    assert "there are more: --before 3" in shown
    assert [row["id"] for row in told(url, "credit", "limits", "acme", "--before", "3")] == [1]
    with psycopg.connect(url) as admin, pytest.raises(psycopg.errors.RestrictViolation):
        admin.execute("UPDATE billing.credit_limits SET person = 'eve'")


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--prepaid", "--postpaid"),
        ("--prepaid", "--limit", "5"),
        ("--prepaid", "--no-limit"),
        ("--postpaid",),
        ("--postpaid", "--limit", "5", "--no-limit"),
        ("--postpaid", "--limit", "-5"),
    ],
)
def test_a_limit_that_says_two_things_or_none_is_refused(
    migrated_database_url: str, options: tuple[str, ...]
) -> None:
    run(migrated_database_url, "credit", "limit", "acme", *options, code=2)
    assert told(migrated_database_url, "accounts") == []


def test_accounts_are_listed_page_by_page_and_all_of_them(migrated_database_url: str) -> None:
    url = migrated_database_url
    for name in ("a", "b", "c"):
        run(url, "credit", "grant", name, "1", *NOTE)
    with psycopg.connect(url) as admin:
        hold(admin, "b", 4_000_000)
    shown, _ = run(url, "accounts", "--limit", "2")
    assert "there are more: --after 'b', or --all" in shown
    shown, _ = run(url, "accounts", "--limit", "2", "--after", "b", "--csv")
    assert [row["account"] for row in csv.DictReader(io.StringIO(shown))] == ["c"]
    assert [row["account"] for row in told(url, "accounts", "--limit", "1", "--all")] == [
        "a", "b", "c",
    ]  # fmt: skip
    [row] = told(url, "accounts", "--account", "b")
    assert (row["held"], row["available"], row["available USD"]) == (4_000_000, 6_000_000, "0.6")


def test_entries_are_listed_page_by_page(migrated_database_url: str) -> None:
    url = migrated_database_url
    for _ in range(3):
        run(url, "credit", "grant", "acme", "1", *NOTE)
    first = told(url, "credit", "entries", "acme", "--limit", "2")
    _, said = run(url, "credit", "entries", "acme", "--limit", "2", "--json")
    assert f"there are more: --before {first[-1]['id']}" in said
    rest = told(url, "credit", "entries", "acme", "--before", str(first[-1]["id"]))
    assert [row["balance USD"] for row in (*first, *rest)] == ["3", "2", "1"]
    assert "nobody has opened an account 'other'" in run(url, "credit", "entries", "other")[0]


def test_holds_are_listed_by_account_and_by_state(migrated_database_url: str) -> None:
    url = migrated_database_url
    for name in ("acme", "other"):
        run(url, "credit", "grant", name, "1", *NOTE)
    with psycopg.connect(url) as admin:
        hold(admin, "acme", 4_000_000)
        hold(admin, "acme", 1, state="expired")
        hold(admin, "other", 2)
    rows = told(url, "holds", "--account", "acme", "--state", "held")
    assert [(row["account"], row["amount USD"], row["captured"]) for row in rows] == [
        ("acme", "0.4", None)
    ]
    assert [row["amount"] for row in told(url, "holds")] == [2, 1, 4_000_000]
    run(url, "holds", "--state", "lost", code=2)


def test_holds_that_are_not_shown_are_told_of(migrated_database_url: str) -> None:
    url = migrated_database_url
    run(url, "credit", "grant", "acme", "1", *NOTE)
    with psycopg.connect(url) as admin:
        for amount in (1, 2, 3):
            hold(admin, "acme", amount)
    assert "there are more: --limit" in run(url, "holds", "--limit", "2")[0]
    rows, said = run(url, "holds", "--limit", "2", "--json")
    assert ([row["amount"] for row in json.loads(rows)], "there are more" in said) == ([3, 2], True)
    assert "there are more" not in run(url, "holds", "--limit", "3")[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ("credit", "entries", "acme", "--limit", str(2**63 - 1)),
        ("credit", "entries", "acme", "--before", str(2**63)),
        ("holds", "--limit", str(2**63)),
    ],
)
def test_a_number_that_no_table_has_is_wrong_usage(
    migrated_database_url: str, arguments: tuple[str, ...]
) -> None:
    assert "less than or equal to" in run(migrated_database_url, *arguments, code=2)[1]


def test_whoever_has_no_name_on_the_machine_is_asked_for_one(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose user has a number only."""

    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr("getpass.getuser", unknown)
    asked = ("credit", "grant", "acme", "1", "--note", "order 4711")
    assert "--by" in run(migrated_database_url, *asked, code=2)[1]
    run(migrated_database_url, *asked, "--by", "ada")


def test_the_audit_names_each_account_that_does_not_balance(migrated_database_url: str) -> None:
    url = migrated_database_url
    for name in ("acme", "other"):
        run(url, "credit", "grant", name, "1", *NOTE)
    with psycopg.connect(url) as admin:
        receipts_of(admin, "acme", [5, 7], batch=3)
        receipts_of(admin, "acme", [20_000_000], batch=None)
        debit(admin, "acme", 12, batch=3)
        hold(admin, "other", 9)
    said, _ = run(url, "credit", "audit")
    assert "none" in said
    assert "1 receipts of 20000000 credits (2 USD) belong to no debit" in said
    with psycopg.connect(url) as admin:
        admin.execute(
            "UPDATE billing.credit_accounts SET held = 0, balance = balance + 1"
            " WHERE billing_account_id = 'other'"
        )
        admin.execute("ALTER TABLE billing.charge_receipts DISABLE TRIGGER USER")
        admin.execute("DELETE FROM billing.charge_receipts WHERE charged_credits = 5")
    rows = told(url, "credit", "audit", code=1)
    assert [
        (row["account"], row["figure"], row["batch"], row["difference USD"]) for row in rows
    ] == [
        ("other", "balance", None, "0.0000001"),
        ("other", "held", None, "-0.0000009"),
        ("acme", "debit", 3, "0.0000005"),
    ]
    said, _ = run(url, "credit", "audit", code=1)
    assert "acme" in said
    assert "other" in said
