-- Receipts by any of their names: each line of the condition has an index.
SELECT
    receipt.id, receipt.source_system, receipt.call_key, receipt.litellm_call_id,
    receipt.response_id, receipt.run_id, receipt.attempt, receipt.billing_account_id,
    receipt.response_cost_usd, receipt.charged_usd, receipt.charged_credits::numeric AS charged_credits,
    receipt.cost_source, receipt.charge_reason, receipt.marks, receipt.occurred_at,
    receipt.created_at, details.model, details.provider, details.call_type, details.tokens_in,
    details.tokens_out, details.sub_agent_id, details.tags,
    receipt.kafka_topic, receipt.kafka_partition, receipt.kafka_offset
FROM billing.charge_receipts AS receipt
JOIN billing.llm_charge_details AS details ON details.charge_receipt_id = receipt.id
WHERE receipt.id = %(id)s
    OR receipt.litellm_call_id = %(name)s
    OR receipt.response_id = %(name)s
    OR receipt.run_id = %(name)s
    OR (receipt.source_system = ANY(%(sources)s) AND receipt.call_key = ANY(%(keys)s))
ORDER BY receipt.created_at, receipt.id
LIMIT %(limit)s
