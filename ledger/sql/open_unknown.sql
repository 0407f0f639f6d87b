-- Accounts that nobody has opened begin here, one after the other in the order of their names: who
-- waits for another's holds none of those behind it.
INSERT INTO billing.credit_accounts (billing_account_id, kind, "limit")
SELECT
    moved.billing_account_id,
    CASE WHEN %(prepaid)s THEN 'prepaid' ELSE 'postpaid' END,
    CASE WHEN %(prepaid)s THEN 0 END
FROM json_to_recordset(%(moved)s) AS moved (billing_account_id text)
WHERE NOT EXISTS (
        SELECT FROM billing.credit_accounts AS account
        WHERE account.billing_account_id = moved.billing_account_id
    )
ORDER BY moved.billing_account_id COLLATE "C"
ON CONFLICT (billing_account_id) DO NOTHING
