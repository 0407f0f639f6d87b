-- Keep what contradicts a receipt aside, once for each content; the receipt stays as it is.
INSERT INTO billing.receipt_conflicts (
    charge_receipt_id, source_system, call_key, receipt_content_hash, conflict_content_hash,
    billing_account_id, response_cost_usd, model, tokens_in, tokens_out,
    kafka_topic, kafka_partition, kafka_offset
)
VALUES (
    %(charge_receipt_id)s, %(source_system)s, %(call_key)s, %(receipt_content_hash)s,
    %(conflict_content_hash)s, %(billing_account_id)s, %(response_cost_usd)s, %(model)s,
    %(tokens_in)s, %(tokens_out)s, %(kafka_topic)s, %(kafka_partition)s, %(kafka_offset)s
)
ON CONFLICT ON CONSTRAINT one_conflict_per_content DO NOTHING
