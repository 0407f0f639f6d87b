-- What became of the charges that made no new receipt. `replayed`: this very record wrote the
-- receipt before a crash, so its event has to go out again.
SELECT
    incoming.ordinal,
    receipt.id AS receipt_id,
    CASE
        WHEN (receipt.kafka_topic, receipt.kafka_partition, receipt.kafka_offset)
            = (incoming.kafka_topic, incoming.kafka_partition, incoming.kafka_offset)
            THEN 'replayed'
        WHEN receipt.content_hash = incoming.content_hash THEN 'duplicate'
        ELSE 'conflict'
    END AS outcome
FROM incoming_receipts AS incoming
JOIN billing.charge_receipts AS receipt USING (source_system, call_key)
WHERE incoming.ordinal <> ALL(%(created)s)
