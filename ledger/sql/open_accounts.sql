INSERT INTO billing.credit_accounts (billing_account_id, kind)
SELECT json_array_elements_text(%(accounts)s), 'postpaid'
ORDER BY 1
ON CONFLICT DO NOTHING
