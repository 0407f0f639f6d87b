-- Keep what contradicts a receipt aside, once for each content; the receipt stays as it is. The very
-- record that wrote the receipt contradicts nothing, even when it is read under other settings.
INSERT INTO billing.receipt_conflicts (
    charge_receipt_id, source_system, call_key, receipt_content_hash, conflict_content_hash,
    billing_account_id, response_cost_usd, model, tokens_in, tokens_out,
    kafka_topic, kafka_partition, kafka_offset
)
SELECT
    receipt.id, incoming.source_system, incoming.call_key, receipt.content_hash,
    incoming.content_hash, incoming.billing_account_id, incoming.response_cost_usd, incoming.model,
    incoming.tokens_in, incoming.tokens_out,
    incoming.kafka_topic, incoming.kafka_partition, incoming.kafka_offset
FROM incoming_receipts AS incoming
JOIN billing.charge_receipts AS receipt USING (source_system, call_key)
WHERE receipt.content_hash <> incoming.content_hash
    AND (receipt.kafka_topic, receipt.kafka_partition, receipt.kafka_offset)
        <> (incoming.kafka_topic, incoming.kafka_partition, incoming.kafka_offset)
ORDER BY incoming.source_system, incoming.call_key, incoming.ordinal
ON CONFLICT ON CONSTRAINT one_conflict_per_content DO NOTHING
