-- Whoever has locked one is ending it. The clock is read once, so that the index finds the rows.
SELECT id, billing_account_id, amount, state, expires_at
FROM billing.credit_holds
WHERE state = 'held' AND expires_at < (SELECT clock_timestamp())
ORDER BY expires_at
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED
