SELECT billing_account_id, kind, balance, held, "limit"
FROM billing.credit_accounts
WHERE billing_account_id IN (SELECT json_array_elements_text(%(accounts)s))
ORDER BY billing_account_id
FOR NO KEY UPDATE
