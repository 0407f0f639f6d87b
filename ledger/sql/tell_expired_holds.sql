-- Behind their end, and the lock of their accounts.
INSERT INTO billing.credit_events (
    type, billing_account_id, kind, balance, held, "limit", amount, litellm_call_id, run_id, attempt, model
)
SELECT
    'hold_expired', account.billing_account_id, account.kind, account.balance, account.held, account."limit",
    hold.amount, hold.litellm_call_id, hold.run_id, hold.attempt, hold.model
FROM billing.credit_holds AS hold
INNER JOIN billing.credit_accounts AS account USING (billing_account_id)
WHERE hold.id = ANY(ARRAY(SELECT json_array_elements_text(%(holds)s)::uuid))
