-- Accounts are taken in the order of their names: who waits for one holds none of those behind it.
-- Each entry has the balance behind it. Accounts come back of which less than one of the levels is left, and was
-- not before.
WITH moved AS MATERIALIZED (
    SELECT billing_account_id, charged, receipts, freed
    FROM json_to_recordset(%(moved)s) AS one (
        billing_account_id text, charged bigint, receipts integer, freed bigint
    )
),

taken AS MATERIALIZED (
    SELECT account.billing_account_id
    FROM billing.credit_accounts AS account
    WHERE account.billing_account_id = ANY(ARRAY(SELECT moved.billing_account_id FROM moved))
    ORDER BY account.billing_account_id COLLATE "C"
    FOR NO KEY UPDATE
),

debited AS (
    UPDATE billing.credit_accounts AS account
    SET balance = account.balance - moved.charged, held = account.held - moved.freed
    FROM moved
    INNER JOIN taken ON taken.billing_account_id = moved.billing_account_id
    WHERE account.billing_account_id = taken.billing_account_id
    RETURNING
        account.billing_account_id, account.kind, account.balance, account.held, account."limit", moved.charged,
        moved.receipts
),

entered AS (
    INSERT INTO billing.credit_entries (billing_account_id, reason, reference, amount, balance, batch, receipts)
    SELECT
        debited.billing_account_id,
        'charge_receipt',
        %(batch)s::text || '/' || debited.billing_account_id,
        -debited.charged,
        debited.balance,
        %(batch)s,
        debited.receipts
    FROM debited
    WHERE debited.charged > 0
)

SELECT billing_account_id, kind, balance, held, "limit", charged
FROM debited
WHERE EXISTS (
        SELECT FROM unnest(%(levels)s::bigint[]) AS level
        WHERE balance + "limit" < level AND balance + "limit" + charged >= level
    )
