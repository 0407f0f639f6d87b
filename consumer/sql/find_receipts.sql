-- The receipts that the ledger has of these calls: from which record each was written, saying what.
SELECT
    source_system, call_key, kafka_topic, kafka_partition, kafka_offset, content_hash, cost_source
FROM billing.charge_receipts
WHERE id = ANY(ARRAY(SELECT id_::uuid FROM json_array_elements_text(%(ids)s) AS id_))
