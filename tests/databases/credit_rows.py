"""Rows of credits as the other rooms leave them, written by a superuser."""

from collections.abc import Sequence
from uuid import uuid4

import psycopg


def hold(
    admin: psycopg.Connection,
    account: str,
    amount: int,
    state: str = "held",
    created_at: str | None = None,
) -> None:
    """Put a hold on an account, or one that has ended."""
    admin.execute(
        "WITH taken AS (UPDATE billing.credit_accounts SET held = held + %(amount)s"
        " WHERE billing_account_id = %(account)s AND %(state)s = 'held')"
        " INSERT INTO billing.credit_holds (billing_account_id, litellm_call_id, nonce, amount,"
        " state, created_at, expires_at, ended_at)"
        " VALUES (%(account)s, 'call', %(nonce)s, %(amount)s, %(state)s,"
        " coalesce(%(created_at)s, clock_timestamp()), now() + interval '1 hour',"
        " CASE WHEN %(state)s <> 'held' THEN now() END)",
        {
            "account": account,
            "amount": amount,
            "state": state,
            "created_at": created_at,
            "nonce": uuid4().hex,
        },
    )


def receipts_of(
    admin: psycopg.Connection, account: str, amounts: Sequence[int], batch: int | None
) -> None:
    """Write receipts of these credits, with a batch or without one."""
    for credits_ in amounts:
        admin.execute(
            "INSERT INTO billing.charge_receipts (id, source_system, call_key, response_id,"
            " source_reference, run_id, attempt, billing_account_id, response_cost_usd,"
            " charged_usd, charged_credits, cost_source, charge_reason, content_hash, kafka_topic,"
            " kafka_partition, kafka_offset, occurred_at, credit_batch)"
            " VALUES (%(id)s, 'litellm', %(id)s::text, 'r', 'r', 'run', 0, %(account)s,"
            " %(credits)s / 10000000.0, %(credits)s / 10000000.0, %(credits)s, 'litellm',"
            " 'free_model', 'hash', 'topic', 0, 0, now(), %(batch)s)",
            {"id": uuid4(), "account": account, "credits": credits_, "batch": batch},
        )


def debit(admin: psycopg.Connection, account: str, amount: int, batch: int) -> None:
    """Debit an account for a batch of receipts."""
    admin.execute(
        "WITH moved AS (UPDATE billing.credit_accounts SET balance = balance - %(amount)s"
        " WHERE billing_account_id = %(account)s RETURNING balance)"
        " INSERT INTO billing.credit_entries (billing_account_id, reason, reference, amount,"
        " balance, batch, receipts) SELECT %(account)s, 'charge_receipt', %(batch)s::text || '/'"
        " || %(account)s, -%(amount)s::bigint, balance, %(batch)s, 3 FROM moved",
        {"account": account, "amount": amount, "batch": batch},
    )
