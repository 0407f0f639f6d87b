SELECT account.billing_account_id, 'balance', NULL::bigint, account.balance, coalesce(moved.amount, 0)
FROM billing.credit_accounts AS account
LEFT JOIN (
    SELECT billing_account_id, sum(amount) AS amount FROM billing.credit_entries GROUP BY billing_account_id
) AS moved USING (billing_account_id)
WHERE account.balance <> coalesce(moved.amount, 0)
ORDER BY account.billing_account_id
