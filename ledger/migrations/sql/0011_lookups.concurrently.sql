-- Which indexes receipts and deferred calls have. Each statement by itself, outside of a transaction,
-- beside members that write; after an interruption all of them once more, so each may be run again.
-- What the release before asks by stays until 0015.

-- Rows from before have nothing there.
ALTER TABLE billing.charge_receipts VALIDATE CONSTRAINT saved_cache_cost_is_finite;

-- Clients choose call ids and providers repeat response ids, so these are looked up by a hash of
-- eight bytes: however often one comes, its entries share a few pages. A question names both the hash and
-- the id. See docs/decisions/0024.
CREATE INDEX CONCURRENTLY IF NOT EXISTS charge_receipts_litellm_call_hash
ON billing.charge_receipts (hashtextextended(litellm_call_id, 0));

CREATE INDEX CONCURRENTLY IF NOT EXISTS charge_receipts_response_hash
ON billing.charge_receipts (hashtextextended(response_id, 0));

-- Tells which sources there are beside the usual one.
CREATE INDEX CONCURRENTLY IF NOT EXISTS charge_receipts_other_sources
ON billing.charge_receipts (source_system) WHERE source_system <> 'litellm';

CREATE INDEX CONCURRENTLY IF NOT EXISTS deferred_calls_litellm_call_id
ON billing.deferred_calls (litellm_call_id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS deferred_calls_response_id
ON billing.deferred_calls (response_id);
