SELECT account.billing_account_id, 'held', NULL::bigint, account.held, coalesce(open.amount, 0)
FROM billing.credit_accounts AS account
LEFT JOIN (
    SELECT billing_account_id, sum(amount) AS amount
    FROM billing.credit_holds
    WHERE state = 'held'
    GROUP BY billing_account_id
) AS open USING (billing_account_id)
WHERE account.held <> coalesce(open.amount, 0)
ORDER BY account.billing_account_id
