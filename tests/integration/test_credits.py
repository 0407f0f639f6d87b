"""Credits that people move: once each, never out of step with the balance, and audited."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise

import psycopg
import pytest
from psycopg import sql

from ledger.accounts import (
    MOST,
    AmountError,
    Limit,
    Movement,
    Reason,
    ReferenceTakenError,
    UnknownAccountError,
)
from ledger.credit_audit import Imbalance
from ledger.credits import Credits
from tests.databases.credit_rows import debit, hold, receipts_of
from tests.waiting import eventually

GUARD = "billing_guard"
SESSIONS, POSTS = 4, 50


@pytest.fixture
def credits_(migrated_database_url: str) -> Iterator[Credits]:
    """The accounts, in the role that the spend guard acts as."""
    with closing(Credits(migrated_database_url, GUARD, "billing-guard")) as opened:
        yield opened


def movement(
    reference: str, amount: int = 5, account: str = "acme", reason: Reason = "grant"
) -> Movement:
    """What ada moves."""
    return Movement(account, reason, reference, amount, "ada", "order 4711")


def test_a_movement_is_made_once_however_often_it_is_asked_for(credits_: Credits) -> None:
    first = credits_.post(movement("one"), "open")
    assert (first.created, first.opened, first.entry.balance) == (True, True, 5)
    assert (first.entry.person, first.entry.note) == ("ada", "order 4711")
    credits_.post(movement("two", 7), "open")
    again = credits_.post(movement("one"), "open")
    assert (again.entry, again.created, again.opened) == (first.entry, False, False)
    refund = credits_.post(movement("one", 2, reason="refund"), "open")
    assert refund.created, "a reference stands for one movement of a reason"
    account = credits_.account("acme")
    assert account is not None
    assert (account.kind, account.limit, account.balance, account.available) == (
        "prepaid", 0, 14, 14,
    )  # fmt: skip


@pytest.mark.parametrize(("account", "amount"), [("acme", 6), ("other", 5)])
def test_a_reference_that_stands_for_something_else_is_refused_and_says_for_what(
    credits_: Credits, account: str, amount: int
) -> None:
    credits_.post(movement("one"), "open")
    credits_.open_account(Limit("other", "prepaid", None, "ann"))
    with pytest.raises(ReferenceTakenError, match=r"'one' stands for a grant of 5 .* to 'acme'"):
        credits_.post(movement("one", amount, account), "open")
    assert [one.balance for one in credits_.accounts("", 9)] == [5, 0]


@pytest.mark.parametrize("reason", ["refund", "write_off", "correction"])
def test_only_a_grant_opens_an_account(credits_: Credits, reason: Reason) -> None:
    with pytest.raises(UnknownAccountError, match="'acme'"):
        credits_.post(movement("one", reason=reason), "open")
    with pytest.raises(UnknownAccountError, match="'acme'"):
        credits_.post(movement("one"), "refuse")
    assert credits_.accounts("", 9) == []


@pytest.mark.parametrize(
    ("amount", "reason"),
    [(0, "grant"), (-1, "grant"), (-1, "refund"), (-1, "write_off"), (0, "correction"),
     (MOST + 1, "grant"), (-MOST - 1, "correction"), (10**30, "grant")],
)  # fmt: skip
def test_an_amount_that_cannot_be_meant_is_refused(
    credits_: Credits, amount: int, reason: Reason
) -> None:
    credits_.open_account(Limit("acme", "prepaid", None, "ann"))
    with pytest.raises(AmountError):
        credits_.post(movement("one", amount, reason=reason), "open")
    assert credits_.entries("acme", None, 9) == []


def test_a_correction_takes_credits_below_zero_too(credits_: Credits) -> None:
    credits_.post(movement("one"), "open")
    taken = credits_.post(movement("two", -8, reason="correction"), "refuse")
    assert taken.entry.balance == -3


def test_a_balance_out_of_range_is_refused_and_nothing_is_moved(
    credits_: Credits, migrated_database_url: str
) -> None:
    credits_.post(movement("one", MOST), "open")
    with pytest.raises(AmountError, match="balance of 'acme' would be over"):
        credits_.post(movement("two", 1), "open")
    assert [entry.balance for entry in credits_.entries("acme", None, 9)] == [MOST]
    assert credits_.audit() == []
    with psycopg.connect(migrated_database_url) as admin:
        admin.execute("UPDATE billing.credit_accounts SET balance = 9223372036854775807")
    with pytest.raises(AmountError, match="balance of 'acme' would be over"):
        credits_.post(movement("two", 1), "open")


def test_names_are_those_of_the_receipts(credits_: Credits) -> None:
    long = "a\0" * 2_000
    posted = credits_.post(movement(long, account=long), "open")
    assert credits_.post(movement(long, account=long), "open").entry == posted.entry
    [account] = credits_.accounts("", 9)
    assert account == credits_.account(long)
    assert "\ufffd" in account.billing_account_id
    assert credits_.entries(long, None, 9) == [posted.entry]


def test_accounts_and_entries_are_read_page_by_page(credits_: Credits) -> None:
    for number in range(5):
        credits_.post(movement(f"{number}", number + 1), "open")
        credits_.open_account(Limit(f"b{number}", "postpaid", number or None, "ann"))
    first = credits_.entries("acme", None, 2)
    rest = credits_.entries("acme", first[-1].id, 9)
    assert [entry.amount for entry in (*first, *rest)] == [5, 4, 3, 2, 1]
    assert [one.billing_account_id for one in credits_.accounts("", 2)] == ["acme", "b0"]
    assert [one.limit for one in credits_.accounts("b0", 9)] == [1, 2, 3, 4]


def test_an_account_is_opened_once_and_limited_anew(credits_: Credits) -> None:
    with pytest.raises(UnknownAccountError):
        credits_.set_limit(Limit("acme", "prepaid", None, "ann"))
    opened = credits_.open_account(Limit("acme", "postpaid", 50, "ann"))
    assert opened is not None
    assert (opened.limit, opened.available) == (50, 50)
    assert credits_.open_account(Limit("acme", "prepaid", None, "ann")) is None
    assert credits_.account("acme") == opened
    endless = credits_.set_limit(Limit("acme", "postpaid", None, "ann"))
    assert (endless.limit, endless.available) == (None, None)
    assert credits_.set_limit(Limit("acme", "prepaid", None, "ann")).limit == 0
    for kind, limit in (("prepaid", 1), ("postpaid", -1), ("postpaid", MOST + 1)):
        with pytest.raises(AmountError):
            credits_.set_limit(
                Limit("acme", "prepaid" if kind == "prepaid" else "postpaid", limit, "ann")
            )


def test_MONEY_IS_EXACT_sessions_that_post_at_once_leave_running_balances_without_a_gap(
    migrated_database_url: str,
) -> None:
    def post(session: int) -> int:
        with closing(Credits(migrated_database_url, GUARD, "billing-guard")) as mine:
            # Half of the references are of one session alone, the others of all.
            keys = [f"{number}" if number % 2 else f"{session}-{number}" for number in range(POSTS)]
            return sum(mine.post(movement(key, 3), "open").created for key in keys)

    with ThreadPoolExecutor(SESSIONS) as pool:
        created = sum(pool.map(post, range(SESSIONS)))
    with closing(Credits(migrated_database_url, GUARD, "billing-guard")) as credits_:
        account, entries = credits_.account("acme"), credits_.entries("acme", None, 1_000)
        assert credits_.audit() == []
    assert account is not None
    assert len(entries) == created == POSTS // 2 * (SESSIONS + 1)
    assert account.balance == 3 * created
    for later, earlier in pairwise(entries):
        assert later.balance - later.amount == earlier.balance
    assert entries[-1].balance == entries[-1].amount


def test_a_session_that_is_slower_with_a_reference_is_given_the_entry_of_the_other(
    credits_: Credits, migrated_database_url: str
) -> None:
    """It has not seen the entry when it looks first, and meets it when it writes its own."""
    credits_.open_account(Limit("acme", "prepaid", None, "ann"))
    with psycopg.connect(migrated_database_url) as other:
        other.execute("UPDATE billing.credit_accounts SET balance = balance + 5")
        other.execute(
            "INSERT INTO billing.credit_entries (billing_account_id, reason, reference, amount,"
            " balance) VALUES ('acme', 'grant', 'one', 5, 5)"
        )
        with ThreadPoolExecutor(1) as pool:
            slower = pool.submit(credits_.post, movement("one"), "open")
            waits_for_a_lock(migrated_database_url)
            other.commit()
            posted = slower.result()
    assert (posted.created, posted.entry.balance) == (False, 5)
    assert credits_.audit() == []


def waits_for_a_lock(url: str) -> None:
    """Wait until the guard's session waits for another one."""
    with psycopg.connect(url, autocommit=True) as connection:
        eventually(
            lambda: (
                connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'billing-guard'"
                    " AND datname = current_database() AND wait_event_type = 'Lock'"
                ).fetchone()
                == (1,)
            ),
            "the guard waits for a lock",
        )


@pytest.mark.parametrize("role", [GUARD, "billing_consumer"])
@pytest.mark.parametrize("statement", ["UPDATE billing.credit_entries SET amount = 1",
                                       "DELETE FROM billing.credit_entries",
                                       "TRUNCATE billing.credit_entries"])  # fmt: skip
def test_entries_are_append_only_for_the_rooms_and_for_the_owner(
    credits_: Credits, migrated_database_url: str, role: str, statement: str
) -> None:
    credits_.post(movement("one"), "open")
    with psycopg.connect(migrated_database_url) as connection:
        with pytest.raises(psycopg.errors.RestrictViolation), connection.transaction():
            connection.execute(statement.encode())
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_the_audit_finds_a_balance_that_somebody_has_altered(
    credits_: Credits, migrated_database_url: str
) -> None:
    credits_.post(movement("one"), "open")
    credits_.post(movement("two", account="other"), "open")
    with psycopg.connect(migrated_database_url) as admin:
        admin.execute(
            "UPDATE billing.credit_accounts SET balance = 6 WHERE billing_account_id = 'acme'"
        )
    assert credits_.audit() == [Imbalance("acme", "balance", None, 6, 5)]


def test_the_audit_finds_what_is_held_by_nothing(
    credits_: Credits, migrated_database_url: str
) -> None:
    credits_.post(movement("one", 100), "open")
    with psycopg.connect(migrated_database_url) as admin:
        hold(admin, "acme", 30)
        hold(admin, "acme", 50, state="released")
    assert credits_.audit() == []
    assert [(one.state, one.amount) for one in credits_.holds("acme", None, None, 9)] == [
        ("released", 50), ("held", 30),
    ]  # fmt: skip
    with psycopg.connect(migrated_database_url) as admin:
        admin.execute("UPDATE billing.credit_accounts SET held = 31")
    assert credits_.audit() == [Imbalance("acme", "held", None, 31, 30)]


def test_holds_are_read_page_by_page(credits_: Credits, migrated_database_url: str) -> None:
    credits_.post(movement("one", 100), "open")
    credits_.open_account(Limit("other", "prepaid", None, "ann"))
    with psycopg.connect(migrated_database_url) as admin:
        for amount in range(5):
            # Of one moment, so that the id decides.
            hold(admin, "acme", amount, created_at="2026-11-01T00:00:00Z")
        hold(admin, "other", 9)
    everything = credits_.holds(None, "held", None, 99)
    assert everything[0].amount == 9
    pages, place = [], None
    while page := credits_.holds(None, "held", place, 2):
        pages += page
        place = (page[-1].created_at, page[-1].id)
    assert pages == everything
    assert len(pages) == 6
    assert credits_.holds("acme", "captured", None, 9) == []


def test_the_audit_finds_a_receipt_that_is_missing_in_a_debit(
    credits_: Credits, migrated_database_url: str
) -> None:
    credits_.post(movement("one", 100), "open")
    with psycopg.connect(migrated_database_url) as admin:
        receipts_of(admin, "acme", [12, 0, 30], batch=7)
        receipts_of(admin, "acme", [0], batch=8)
        receipts_of(admin, "before", [4, 5], batch=None)
        debit(admin, "acme", 42, batch=7)
    assert credits_.audit() == []
    undebited = credits_.undebited()
    assert (undebited.receipts, undebited.credits) == (2, 9)
    with psycopg.connect(migrated_database_url) as admin:
        admin.execute("ALTER TABLE billing.charge_receipts DISABLE TRIGGER USER")
        admin.execute("DELETE FROM billing.charge_receipts WHERE charged_credits = 12")
        admin.execute("ALTER TABLE billing.charge_receipts ENABLE TRIGGER USER")
        receipts_of(admin, "other", [3], batch=7)
    assert credits_.audit() == [
        Imbalance("acme", "debit", 7, 42, 30),
        Imbalance("other", "debit", 7, 0, 3),
    ]
