-- A receipt is one row: what it says of the call itself stands in charge_receipts as well. Only the
-- catalogue changes: no row is read or written. May be applied over itself: nothing of it is lost by
-- that. Members of the release before write meanwhile and afterwards.

-- Whoever waits for a lock here keeps everybody else waiting: rather give up, and be tried again. In
-- the order in which a batch takes them.
SET LOCAL lock_timeout = '2s';
LOCK TABLE billing.charge_receipts, billing.llm_charge_details, billing.deferred_calls
IN ACCESS EXCLUSIVE MODE;

-- Details of receipts from before stay where they are, as receipts are never changed. Those of the
-- release before, while it still runs, come to them. Their foreign key had the row of each receipt
-- looked up and locked once more.
DO $$
DECLARE
    constraint_name text;
BEGIN
    IF to_regclass('billing.former_charge_details') IS NULL THEN
        ALTER TABLE billing.llm_charge_details RENAME TO former_charge_details;
        ALTER TABLE billing.former_charge_details
            DROP CONSTRAINT llm_charge_details_charge_receipt_id_fkey;
        -- The key; and from PostgreSQL 18 on, what is NOT NULL has a name as well.
        FOR constraint_name IN
            SELECT conname FROM pg_constraint
            WHERE conrelid = 'billing.former_charge_details'::regclass
                AND starts_with(conname, 'llm_charge_details')
        LOOP
            EXECUTE format('ALTER TABLE billing.former_charge_details RENAME CONSTRAINT %I TO %I',
                constraint_name, replace(constraint_name, 'llm_charge', 'former_charge'));
        END LOOP;
        -- What has an alignment first: a row is some bytes smaller.
        ALTER TABLE billing.charge_receipts
            ADD COLUMN tokens_in           bigint,
            ADD COLUMN tokens_out          bigint,
            ADD COLUMN tokens_cached_in    bigint,
            ADD COLUMN tokens_reasoning    bigint,
            ADD COLUMN latency_ms          integer,
            ADD COLUMN ttft_ms             integer,
            ADD COLUMN stream              boolean,
            ADD COLUMN provider_call_id    text,
            ADD COLUMN model               text,
            ADD COLUMN provider_model      text,
            ADD COLUMN provider            text,
            ADD COLUMN call_type           text,
            ADD COLUMN graph_id            text,
            ADD COLUMN sub_agent_id        text,
            ADD COLUMN parent_sub_agent_id text,
            ADD COLUMN tool_call_id        text,
            ADD COLUMN tags                text[],
            ADD COLUMN saved_cache_cost    numeric;
        -- Not looked through here.
        ALTER TABLE billing.charge_receipts ADD CONSTRAINT saved_cache_cost_is_finite
            CHECK (saved_cache_cost < 'Infinity' AND saved_cache_cost > '-Infinity') NOT VALID;
        -- NULL in rows from before, and from members of the release before, until `migrate` runs:
        -- the id is a UUID of version 5, which PostgreSQL does not make.
        ALTER TABLE billing.deferred_calls ADD COLUMN receipt_id uuid;
    END IF;
END $$;

-- Whose call it was, and when it began. 0012 says the same once more, for ledgers that had this
-- migration before these columns were in it: members of this release write them.
ALTER TABLE billing.charge_receipts
    ADD COLUMN IF NOT EXISTS started_at      timestamptz,
    ADD COLUMN IF NOT EXISTS team_id         text,
    ADD COLUMN IF NOT EXISTS team_alias      text,
    ADD COLUMN IF NOT EXISTS key_alias       text,
    ADD COLUMN IF NOT EXISTS key_hash        text,
    ADD COLUMN IF NOT EXISTS user_id         text,
    ADD COLUMN IF NOT EXISTS organization_id text;

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

-- The one place for receipts of all ages. `stream` is in every row that has its own details.
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

-- The old name, for whoever asks by it, and for members of the release before, which write by it.
CREATE OR REPLACE VIEW billing.llm_charge_details AS
SELECT
    id AS charge_receipt_id, provider_call_id, model, provider_model, provider, call_type, stream,
    tokens_in, tokens_out, tokens_cached_in, tokens_reasoning, latency_ms, ttft_ms, graph_id,
    sub_agent_id, parent_sub_agent_id, tool_call_id, tags, saved_cache_cost
FROM billing.detailed_receipts;

-- With the rights of whoever inserts.
CREATE OR REPLACE FUNCTION billing.keep_former_details() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO billing.former_charge_details (
        charge_receipt_id, provider_call_id, model, provider_model, provider, call_type, stream,
        tokens_in, tokens_out, tokens_cached_in, tokens_reasoning, latency_ms, ttft_ms, graph_id,
        sub_agent_id, parent_sub_agent_id, tool_call_id, tags, saved_cache_cost
    )
    VALUES (
        NEW.charge_receipt_id, NEW.provider_call_id, NEW.model, NEW.provider_model, NEW.provider,
        NEW.call_type, NEW.stream, NEW.tokens_in, NEW.tokens_out, NEW.tokens_cached_in,
        NEW.tokens_reasoning, NEW.latency_ms, NEW.ttft_ms, NEW.graph_id, NEW.sub_agent_id,
        NEW.parent_sub_agent_id, NEW.tool_call_id, NEW.tags, NEW.saved_cache_cost
    );
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER keep_former_details INSTEAD OF INSERT ON billing.llm_charge_details
    FOR EACH ROW EXECUTE FUNCTION billing.keep_former_details();
-- RECEIPTS_ARE_IMMUTABLE: also by this name, and also where no row is meant.
CREATE OR REPLACE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing.llm_charge_details
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE OR REPLACE TRIGGER append_only_rows INSTEAD OF UPDATE OR DELETE ON billing.llm_charge_details
    FOR EACH ROW EXECUTE FUNCTION billing.refuse_change();

GRANT SELECT ON billing.detailed_receipts, billing.llm_charge_details
TO billing_consumer, billing_reader;
GRANT INSERT ON billing.llm_charge_details TO billing_consumer;

-- As in 0009, told by the receipt's id.
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

COMMENT ON COLUMN billing.charge_receipts.stream IS 'NULL where the details stand in former_charge_details.';
COMMENT ON TABLE billing.former_charge_details IS 'Details of receipts from before 0010, a row each. Append-only.';
COMMENT ON VIEW billing.detailed_receipts IS 'Receipts with their details, wherever these stand.';
COMMENT ON VIEW billing.llm_charge_details IS 'The details alone, by the name that they had as a table.';
COMMENT ON COLUMN billing.deferred_calls.receipt_id IS 'Which id the receipt of the call has or would have; NULL until migrate fills it in.';
COMMENT ON COLUMN billing.charge_receipts.started_at IS 'When the call began; occurred_at is its end. NULL where nothing said it, and in receipts from before 0012.';
COMMENT ON COLUMN billing.charge_receipts.key_hash IS 'LiteLLM''s hash of the key that called, never the key.';
