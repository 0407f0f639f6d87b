-- The row of the account is locked before the entry has an id: its entries' balances run in the order
-- of their ids. No row comes back where the account is unknown.
WITH moved AS (
    UPDATE billing.credit_accounts
    SET balance = balance + %(amount)s::bigint
    WHERE billing_account_id = %(account)s
    RETURNING billing_account_id, balance
)

INSERT INTO billing.credit_entries (billing_account_id, reason, reference, amount, balance, person, note)
SELECT
    moved.billing_account_id, %(reason)s, %(reference)s, %(amount)s::bigint, moved.balance,
    %(person)s::text, %(note)s::text
FROM moved
RETURNING
    id, billing_account_id, reason, reference, amount, balance, batch, receipts, person, note, created_at
