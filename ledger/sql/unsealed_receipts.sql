-- As receipts_to_verify.sql, those of moments of which there is no seal.
SELECT
    created_at, id, source_system, call_key, litellm_call_id, response_id, source_reference, run_id, attempt,
    billing_account_id, response_cost_usd, charged_usd, charged_credits, cost_source, charge_reason,
    marks, content_hash, kafka_topic, kafka_partition, kafka_offset, occurred_at,
    provider_call_id, model, provider_model, provider, call_type, stream, tokens_in, tokens_out,
    tokens_cached_in, tokens_reasoning, latency_ms, ttft_ms, graph_id, sub_agent_id,
    parent_sub_agent_id, tool_call_id, tags, saved_cache_cost, started_at, team_id, team_alias, key_alias, key_hash, user_id,
    organization_id, credit_batch
FROM billing.charge_receipts AS receipt
WHERE NOT EXISTS (
    SELECT 1 FROM billing.seals AS seal WHERE seal.kind = 'receipts' AND seal.written_at = receipt.created_at
)
ORDER BY created_at
