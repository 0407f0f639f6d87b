SELECT
    source_system, call_key, billing_account_id, response_cost_usd, model, tokens_in, tokens_out,
    detected_at, kafka_topic, kafka_partition, kafka_offset
FROM billing.receipt_conflicts
WHERE source_system = ANY(%(sources)s) AND call_key = ANY(%(keys)s)
ORDER BY detected_at, id
LIMIT %(limit)s
