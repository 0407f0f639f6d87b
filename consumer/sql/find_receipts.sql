-- The receipts that the ledger has of these calls: from which record each was written, saying what.
SELECT id, kafka_topic, kafka_partition, kafka_offset, content_hash, cost_source
FROM billing.charge_receipts
WHERE id = ANY(%(ids)s)
