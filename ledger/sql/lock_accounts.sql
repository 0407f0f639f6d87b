SELECT billing_account_id, kind, balance, held, "limit"
FROM billing.credit_accounts
WHERE billing_account_id = ANY(ARRAY(SELECT json_array_elements_text(%(accounts)s)))
-- As text sorts in Python, whatever the collation of the database: everybody takes accounts in one order.
ORDER BY billing_account_id COLLATE "C"
FOR NO KEY UPDATE
