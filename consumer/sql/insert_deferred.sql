-- Open a deferral for each call once; one whose receipt is already there is settled at birth, so
-- that the order in which the two callbacks arrive makes no difference. Returns the new ordinals.
WITH first AS (
    SELECT DISTINCT ON (source_system, call_key) *
    FROM incoming_deferred
    ORDER BY source_system, call_key, ordinal
),
opened AS (
    INSERT INTO billing.deferred_calls (
        source_system, call_key, litellm_call_id, response_id, reason, suggested_cost_usd, run_id,
        model, provider, tokens_in, tokens_out, kafka_topic, kafka_partition, kafka_offset,
        occurred_at, resolved_at, resolution
    )
    SELECT
        first.source_system, first.call_key, first.litellm_call_id, first.response_id,
        first.reason, first.suggested_cost_usd, first.run_id, first.model, first.provider,
        first.tokens_in, first.tokens_out, first.kafka_topic, first.kafka_partition,
        first.kafka_offset, first.occurred_at,
        CASE WHEN receipt.id IS NOT NULL THEN now() END,
        CASE WHEN receipt.id IS NOT NULL THEN 'callback' END
    FROM first
    LEFT JOIN billing.charge_receipts AS receipt USING (source_system, call_key)
    ORDER BY first.source_system, first.call_key
    ON CONFLICT ON CONSTRAINT one_deferral_per_call DO NOTHING
    RETURNING source_system, call_key
)
SELECT first.ordinal
FROM first
JOIN opened USING (source_system, call_key)
