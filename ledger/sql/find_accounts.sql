-- Without a lock: those that are there and not locked in the next statement are locked by somebody else.
SELECT billing_account_id
FROM billing.credit_accounts
WHERE billing_account_id = ANY(ARRAY(SELECT json_array_elements_text(%(accounts)s)))
