-- The rows of the holds are locked, and those of their accounts behind them.
WITH ended AS (
    UPDATE billing.credit_holds
    SET state = %(state)s, ended_at = clock_timestamp()
    WHERE id = ANY(ARRAY(SELECT json_array_elements_text(%(holds)s)::uuid)) AND state = 'held'
    RETURNING billing_account_id, amount
)
UPDATE billing.credit_accounts AS account
SET held = account.held - freed.amount
FROM (SELECT billing_account_id, sum(amount)::bigint AS amount FROM ended GROUP BY billing_account_id) AS freed
WHERE account.billing_account_id = freed.billing_account_id
    AND account.billing_account_id = ANY(ARRAY(SELECT ended.billing_account_id FROM ended))
