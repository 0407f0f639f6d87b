"""Accounts and their holds, made and looked at with SQL alone."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from tests.databases.writing import ROLE

_OPEN = """
INSERT INTO billing.credit_accounts (billing_account_id, kind, balance, "limit")
VALUES (%s, %s, %s, %s)
"""
_GRANT = """
INSERT INTO billing.credit_entries (billing_account_id, reason, reference, amount, balance)
VALUES (%s, 'grant', %s, %s, %s)
"""
_CAPTURE = """
UPDATE billing.credit_holds
SET state = 'captured', ended_at = clock_timestamp(), captured = %s,
    charge_receipt_id = gen_random_uuid()
WHERE id = %s
"""
_WRONG = """
SELECT account.billing_account_id, account.held, account.balance, holds.amount, entries.amount
FROM billing.credit_accounts AS account
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount), 0) AS amount FROM billing.credit_holds AS hold
    WHERE hold.billing_account_id = account.billing_account_id AND hold.state = 'held'
) AS holds
CROSS JOIN LATERAL (
    SELECT coalesce(sum(amount), 0) AS amount FROM billing.credit_entries AS entry
    WHERE entry.billing_account_id = account.billing_account_id
) AS entries
WHERE account.held <> holds.amount OR account.balance <> entries.amount
"""


class Account(NamedTuple):
    """An account as it stands."""

    kind: str
    balance: int
    held: int
    limit: int | None


def opened(
    url: str, name: str, balance: int = 0, kind: str = "prepaid", limit: int | None = 0
) -> None:
    """Open an account with so many credits."""
    with psycopg.connect(url) as connection:
        connection.execute(_OPEN, (name, kind, balance, limit))
        if balance:
            connection.execute(_GRANT, (name, name, balance, balance))


def account(url: str, name: str) -> Account:
    """An account as it stands; a `KeyError` where there is none."""
    sql = """
        SELECT kind, balance, held, "limit" FROM billing.credit_accounts
        WHERE billing_account_id = %s
    """
    with psycopg.connect(url) as connection:
        row = connection.execute(sql, (name,)).fetchone()
    if row is None:
        raise KeyError(name)
    return Account(*row)


def states(url: str) -> list[tuple[str, int]]:
    """The states of all holds, and how many are in each."""
    sql = "SELECT state, count(*) FROM billing.credit_holds GROUP BY state ORDER BY state"
    with psycopg.connect(url) as connection:
        return connection.execute(sql).fetchall()


def overdue(url: str) -> None:
    """Let the time of every open hold be over."""
    sql = "UPDATE billing.credit_holds SET expires_at = now() - interval '1 s' WHERE state = 'held'"
    with psycopg.connect(url) as connection:
        connection.execute(sql)


def capture(url: str, hold: object, amount: int) -> bool:
    """End a hold as the consumer does when its receipt is there; whether it was still held."""
    with psycopg.connect(url) as connection:
        connection.execute(f"SET LOCAL ROLE {ROLE}")
        row = connection.execute(
            "SELECT billing_account_id, amount FROM billing.credit_holds "
            "WHERE id = %s AND state = 'held' FOR UPDATE",
            (hold,),
        ).fetchone()
        if row is None:
            return False
        connection.execute(_CAPTURE, (amount, hold))
        connection.execute(
            "UPDATE billing.credit_accounts SET held = held - %s WHERE billing_account_id = %s",
            (row[1], row[0]),
        )
    return True


def wrong(url: str) -> Sequence[Any]:
    """Accounts whose balance is not their entries' sum, or whose held is not their holds'."""
    with psycopg.connect(url) as connection:
        return connection.execute(_WRONG).fetchall()
