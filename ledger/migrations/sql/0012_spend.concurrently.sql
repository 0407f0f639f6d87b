-- What finance asks by: team, key, user and organisation of the proxy, and the start of a call, on
-- receipts and deferred calls. Each statement by itself, beside members that write; after an
-- interruption all of them once more, so each may be run again. The columns change the catalogue
-- alone: no row is read or written. They are NULL in rows from before, and in those that members of
-- the release before write.

ALTER TABLE billing.charge_receipts
    ADD COLUMN IF NOT EXISTS started_at      timestamptz,
    ADD COLUMN IF NOT EXISTS team_id         text,
    ADD COLUMN IF NOT EXISTS team_alias      text,
    ADD COLUMN IF NOT EXISTS key_alias       text,
    ADD COLUMN IF NOT EXISTS key_hash        text,
    ADD COLUMN IF NOT EXISTS user_id         text,
    ADD COLUMN IF NOT EXISTS organization_id text,
    ADD COLUMN IF NOT EXISTS credit_batch    bigint;

ALTER TABLE billing.deferred_calls
    ADD COLUMN IF NOT EXISTS started_at          timestamptz,
    ADD COLUMN IF NOT EXISTS billing_account_id  text,
    ADD COLUMN IF NOT EXISTS team_id             text,
    ADD COLUMN IF NOT EXISTS team_alias          text,
    ADD COLUMN IF NOT EXISTS key_alias           text,
    ADD COLUMN IF NOT EXISTS key_hash            text,
    ADD COLUMN IF NOT EXISTS user_id             text,
    ADD COLUMN IF NOT EXISTS organization_id     text,
    ADD COLUMN IF NOT EXISTS sub_agent_id        text,
    ADD COLUMN IF NOT EXISTS parent_sub_agent_id text,
    ADD COLUMN IF NOT EXISTS tags                text[];

-- Who pays for a run whose calls name it and no account.
ALTER TABLE billing.usage_units ADD COLUMN IF NOT EXISTS billing_account_id text;

CREATE INDEX CONCURRENTLY IF NOT EXISTS usage_units_accounts
ON billing.usage_units (run_id, attempt) WHERE billing_account_id IS NOT NULL;

-- As in 0010, with the new columns behind the others.
CREATE OR REPLACE VIEW billing.detailed_receipts AS
SELECT
    receipt.id, receipt.source_system, receipt.call_key, receipt.litellm_call_id,
    receipt.response_id, receipt.source_reference, receipt.run_id, receipt.attempt,
    receipt.billing_account_id, receipt.response_cost_usd, receipt.charged_usd,
    receipt.charged_credits, receipt.cost_source, receipt.charge_reason, receipt.marks,
    receipt.content_hash, receipt.kafka_topic, receipt.kafka_partition, receipt.kafka_offset,
    receipt.occurred_at, receipt.created_at,
    coalesce(receipt.provider_call_id, former.provider_call_id) AS provider_call_id,
    coalesce(receipt.model, former.model) AS model,
    coalesce(receipt.provider_model, former.provider_model) AS provider_model,
    coalesce(receipt.provider, former.provider) AS provider,
    coalesce(receipt.call_type, former.call_type) AS call_type,
    coalesce(receipt.stream, former.stream) AS stream,
    coalesce(receipt.tokens_in, former.tokens_in) AS tokens_in,
    coalesce(receipt.tokens_out, former.tokens_out) AS tokens_out,
    coalesce(receipt.tokens_cached_in, former.tokens_cached_in) AS tokens_cached_in,
    coalesce(receipt.tokens_reasoning, former.tokens_reasoning) AS tokens_reasoning,
    coalesce(receipt.latency_ms, former.latency_ms) AS latency_ms,
    coalesce(receipt.ttft_ms, former.ttft_ms) AS ttft_ms,
    coalesce(receipt.graph_id, former.graph_id) AS graph_id,
    coalesce(receipt.sub_agent_id, former.sub_agent_id) AS sub_agent_id,
    coalesce(receipt.parent_sub_agent_id, former.parent_sub_agent_id) AS parent_sub_agent_id,
    coalesce(receipt.tool_call_id, former.tool_call_id) AS tool_call_id,
    coalesce(receipt.tags, former.tags) AS tags,
    coalesce(receipt.saved_cache_cost, former.saved_cache_cost) AS saved_cache_cost,
    receipt.started_at, receipt.team_id, receipt.team_alias, receipt.key_alias, receipt.key_hash,
    receipt.user_id, receipt.organization_id
FROM billing.charge_receipts AS receipt
LEFT JOIN billing.former_charge_details AS former
    ON former.charge_receipt_id = receipt.id AND receipt.stream IS NULL;

CREATE OR REPLACE VIEW billing.open_deferrals AS
SELECT
    deferred.id, deferred.source_system, deferred.call_key, deferred.litellm_call_id,
    deferred.response_id, deferred.reason,
    deferred.reason IN ('awaiting_result', 'awaiting_create') AS waiting,
    deferred.suggested_cost_usd, deferred.sent_cost, deferred.run_id, deferred.model,
    deferred.provider, deferred.tokens_in, deferred.tokens_out, deferred.kafka_topic,
    deferred.kafka_topic_id, deferred.kafka_partition, deferred.kafka_offset, deferred.occurred_at,
    deferred.deferred_at, deferred.resolved_at, deferred.resolution, deferred.resolved_by,
    deferred.resolution_note,
    deferred.started_at, deferred.billing_account_id, deferred.team_id, deferred.team_alias,
    deferred.key_alias, deferred.key_hash, deferred.user_id, deferred.organization_id,
    deferred.sub_agent_id, deferred.parent_sub_agent_id, deferred.tags
FROM billing.deferred_calls AS deferred
WHERE deferred.resolved_at IS NULL
    AND NOT EXISTS (
        SELECT FROM billing.charge_receipts AS receipt WHERE receipt.id = deferred.receipt_id
    );

-- One row for each receipt, in the words of `billing spend`, for people's own tools. A receipt that
-- does not know its start counts by its end.
CREATE OR REPLACE VIEW billing.spend AS
SELECT
    (coalesce(receipt.started_at, receipt.occurred_at) AT TIME ZONE 'UTC')::date AS day,
    coalesce(receipt.started_at, receipt.occurred_at) AS started_at,
    receipt.occurred_at AS ended_at,
    receipt.billing_account_id AS account, receipt.team_id, receipt.team_alias, receipt.key_hash,
    receipt.key_alias, receipt.user_id, receipt.organization_id, receipt.model, receipt.provider,
    receipt.call_type, receipt.run_id, receipt.attempt, receipt.graph_id, receipt.sub_agent_id, receipt.parent_sub_agent_id,
    receipt.tool_call_id, receipt.tags, receipt.charge_reason, receipt.cost_source, receipt.marks,
    receipt.tokens_in, receipt.tokens_out, receipt.tokens_cached_in, receipt.tokens_reasoning,
    receipt.response_cost_usd, receipt.charged_usd, receipt.charged_credits,
    receipt.id AS receipt_id, receipt.source_system, receipt.call_key, receipt.litellm_call_id,
    receipt.response_id, receipt.created_at
FROM billing.detailed_receipts AS receipt;

GRANT SELECT ON billing.spend TO billing_consumer, billing_reader;

COMMENT ON VIEW billing.spend IS 'A row for each receipt, in the words of billing spend: docs/finance.md says what each column is.';

COMMENT ON COLUMN billing.spend.day IS 'On which the call began, in UTC. Name it in a condition: it has indexes.';

COMMENT ON COLUMN billing.spend.run_id IS 'The call key where the call names no run; marks has unattributed_run then.';

-- The calls of an account or of a team in a month. All calls of one day share a key, so that their
-- entries become lists of a few bytes each; a question names the hash, the day and the name itself.
-- See docs/decisions/0025.
CREATE INDEX CONCURRENTLY IF NOT EXISTS charge_receipts_account_day
ON billing.charge_receipts (
    hashtextextended(billing_account_id, 0),
    ((coalesce(started_at, occurred_at) AT TIME ZONE 'UTC')::date)
);

CREATE INDEX CONCURRENTLY IF NOT EXISTS charge_receipts_team_day
ON billing.charge_receipts (
    hashtextextended(team_id, 0),
    ((coalesce(started_at, occurred_at) AT TIME ZONE 'UTC')::date)
)
WHERE team_id IS NOT NULL;

-- The calls of a month, whoever made them, by their start and by their end: which pages hold them.
CREATE INDEX CONCURRENTLY IF NOT EXISTS charge_receipts_days
ON billing.charge_receipts USING brin (
    ((coalesce(started_at, occurred_at) AT TIME ZONE 'UTC')::date), occurred_at
)
WITH (autosummarize = on);

COMMENT ON COLUMN billing.charge_receipts.started_at IS 'When the call began; occurred_at is its end. NULL where nothing said it, and in receipts from before 0012.';

COMMENT ON COLUMN billing.charge_receipts.key_hash IS 'LiteLLM''s hash of the key that called, never the key.';

-- The receipts of a debit. Batches are numbered in the order of time, so a few pages hold each.
CREATE INDEX CONCURRENTLY IF NOT EXISTS charge_receipts_credit_batch
ON billing.charge_receipts USING brin (credit_batch) WITH (pages_per_range = 32, autosummarize = on);

COMMENT ON COLUMN billing.charge_receipts.credit_batch IS 'With which debit of its account it was charged; NULL where there is none.';
