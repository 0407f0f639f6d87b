-- What only members of the release before ask by. Without it they read the whole table for a batch, so
-- it stays while one of them is connected.

DROP INDEX CONCURRENTLY IF EXISTS billing.charge_receipts_response_id;

-- CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID: the primary key is a UUID of the same two columns. It takes
-- the table for a moment, which members that have to scan it, as behind the last step, would not let it.
ALTER TABLE billing.charge_receipts DROP CONSTRAINT IF EXISTS one_receipt_per_call;

DROP INDEX CONCURRENTLY IF EXISTS billing.charge_receipts_litellm_call_id;
