-- One row of an account after the other, in the order of their names: who waits for one holds those
-- before it. An account that nobody has opened begins here. Its entry has the balance behind it.
WITH moved AS MATERIALIZED (
    SELECT billing_account_id, charged, receipts, freed
    FROM json_to_recordset(%(moved)s) AS one (
        billing_account_id text, charged bigint, receipts integer, freed bigint
    )
),

debited AS (
    INSERT INTO billing.credit_accounts AS account (billing_account_id, kind, "limit", balance)
    SELECT
        moved.billing_account_id,
        CASE WHEN %(prepaid)s THEN 'prepaid' ELSE 'postpaid' END,
        CASE WHEN %(prepaid)s THEN 0 END,
        -moved.charged
    FROM moved
    ORDER BY moved.billing_account_id COLLATE "C"
    ON CONFLICT (billing_account_id) DO UPDATE
    SET
        balance = account.balance + excluded.balance,
        held = account.held - (
            SELECT moved.freed FROM moved WHERE moved.billing_account_id = excluded.billing_account_id
        )
    RETURNING account.billing_account_id, account.balance
)

INSERT INTO billing.credit_entries (billing_account_id, reason, reference, amount, balance, batch, receipts)
SELECT
    debited.billing_account_id,
    'charge_receipt',
    %(batch)s::text || '/' || debited.billing_account_id,
    -moved.charged,
    debited.balance,
    %(batch)s,
    moved.receipts
FROM debited
INNER JOIN moved ON moved.billing_account_id = debited.billing_account_id
WHERE moved.charged > 0
