-- Merge the batch's charges into the ledger. Keys are taken in order so that two members which meet
-- on the same keys cannot deadlock. ON CONFLICT names no constraint: the id follows from the key, so
-- whoever comes second in the same instant may meet either of the two. Returns the ordinals of the
-- receipts that are new.
WITH first AS (
    SELECT DISTINCT ON (source_system, call_key) *
    FROM incoming_receipts
    ORDER BY source_system, call_key, ordinal
),
created AS (
    INSERT INTO billing.charge_receipts (
        id, source_system, call_key, litellm_call_id, response_id, source_reference, run_id,
        attempt, billing_account_id, response_cost_usd, charged_usd, charged_credits, cost_source,
        charge_reason, marks, content_hash, kafka_topic, kafka_partition, kafka_offset, occurred_at
    )
    SELECT
        id, source_system, call_key, litellm_call_id, response_id, source_reference, run_id,
        attempt, billing_account_id, response_cost_usd, charged_usd, charged_credits, cost_source,
        charge_reason, marks, content_hash, kafka_topic, kafka_partition, kafka_offset, occurred_at
    FROM first
    ORDER BY source_system, call_key
    ON CONFLICT DO NOTHING
    RETURNING id
),
detailed AS (
    INSERT INTO billing.llm_charge_details (
        charge_receipt_id, provider_call_id, model, provider_model, provider, call_type, stream,
        tokens_in, tokens_out, tokens_cached_in, tokens_reasoning, latency_ms, ttft_ms, graph_id,
        sub_agent_id, parent_sub_agent_id, tool_call_id, tags, saved_cache_cost
    )
    SELECT
        first.id, provider_call_id, model, provider_model, provider, call_type, stream,
        tokens_in, tokens_out, tokens_cached_in, tokens_reasoning, latency_ms, ttft_ms, graph_id,
        sub_agent_id, parent_sub_agent_id, tool_call_id, tags, saved_cache_cost
    FROM first
    JOIN created ON created.id = first.id
)
SELECT first.ordinal
FROM first
JOIN created ON created.id = first.id
