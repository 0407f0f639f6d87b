-- Behind the lock of their accounts: the events of an account have ids in the order in which it moved.
INSERT INTO billing.credit_events (type, billing_account_id, kind, balance, held, "limit", threshold, amount, reason)
SELECT type, billing_account_id, kind, balance, held, "limit", threshold, amount, reason
FROM json_to_recordset(%(events)s) AS event (
    type text, billing_account_id text, kind text, balance bigint, held bigint, "limit" bigint,
    threshold bigint, amount bigint, reason text
)
