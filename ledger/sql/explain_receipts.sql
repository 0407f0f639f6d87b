-- Receipts by any of their names: each line of the condition has an index.
SELECT
    receipt.id, receipt.source_system, receipt.call_key, receipt.litellm_call_id,
    receipt.response_id, receipt.run_id, receipt.attempt, receipt.billing_account_id,
    receipt.response_cost_usd, receipt.charged_usd, receipt.charged_credits::numeric AS charged_credits,
    receipt.cost_source, receipt.charge_reason, receipt.marks, receipt.occurred_at,
    receipt.created_at, receipt.model, receipt.provider, receipt.call_type, receipt.tokens_in,
    receipt.tokens_out, receipt.sub_agent_id, receipt.tags,
    receipt.kafka_topic, receipt.kafka_partition, receipt.kafka_offset
FROM billing.detailed_receipts AS receipt
WHERE receipt.id = ANY(%(ids)s)
    OR (
        hashtextextended(receipt.litellm_call_id, 0) = hashtextextended(%(name)s, 0)
        AND receipt.litellm_call_id = %(name)s
    )
    OR (
        hashtextextended(receipt.response_id, 0) = hashtextextended(%(name)s, 0)
        AND receipt.response_id = %(name)s
    )
    OR receipt.run_id = %(name)s
ORDER BY receipt.created_at, receipt.id
LIMIT %(limit)s
