-- The receipts that the ledger has of these calls: from which record each was written, saying what.
SELECT
    receipt.source_system, receipt.call_key, receipt.kafka_topic, receipt.kafka_partition,
    written.known_offset, receipt.content_hash, receipt.response_cost_usd, receipt.cost_source
FROM billing.charge_receipts AS receipt
CROSS JOIN LATERAL billing.offset_in_topic(
    receipt.kafka_topic, receipt.kafka_partition, receipt.kafka_offset, receipt.created_at
) AS written
WHERE receipt.id = ANY(ARRAY(SELECT id_::uuid FROM json_array_elements_text(%(ids)s) AS id_))
