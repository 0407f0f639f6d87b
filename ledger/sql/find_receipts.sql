-- The receipts that the ledger has of these calls: from which record each was written, saying what.
-- One that is older than the topic of that name was written from another topic's record.
SELECT
    receipt.source_system, receipt.call_key, receipt.kafka_topic, receipt.kafka_partition,
    CASE
        WHEN receipt.created_at < (
            SELECT min(known.topic_since)
            FROM billing.published_offsets AS known
            WHERE known.kafka_topic = receipt.kafka_topic
                AND known.kafka_partition = receipt.kafka_partition
        ) THEN -1
        ELSE receipt.kafka_offset
    END AS kafka_offset,
    receipt.content_hash, receipt.cost_source
FROM billing.charge_receipts AS receipt
WHERE receipt.id = ANY(ARRAY(SELECT id_::uuid FROM json_array_elements_text(%(ids)s) AS id_))
