-- The one statement that adds receipts (ONE_LEDGER_WRITER). A call that has one already makes it
-- fail, and nothing of the batch is written.
COPY billing.charge_receipts (
    id, source_system, call_key, litellm_call_id, response_id, source_reference, run_id, attempt,
    billing_account_id, response_cost_usd, charged_usd, charged_credits, cost_source, charge_reason,
    marks, content_hash, kafka_topic, kafka_partition, kafka_offset, occurred_at
) FROM STDIN (FORMAT binary)
