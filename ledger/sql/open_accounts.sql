INSERT INTO billing.credit_accounts (billing_account_id, kind)
SELECT asked.account, 'postpaid'
FROM json_array_elements_text(%(accounts)s) AS asked (account)
ORDER BY asked.account COLLATE "C"
ON CONFLICT DO NOTHING
