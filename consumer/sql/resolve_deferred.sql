-- A cost that came after all settles the deferral of the same call. The receipt says how, not the
-- record in hand: that may be a repeat, or a person's cost for a call that had its receipt already.
WITH met AS MATERIALIZED (
    SELECT DISTINCT deferred.id, deferred.source_system, deferred.call_key
    FROM billing.deferred_calls AS deferred
    JOIN incoming_receipts USING (source_system, call_key)
    WHERE deferred.resolved_at IS NULL
)
UPDATE billing.deferred_calls AS deferred
SET
    resolved_at = now(),
    resolution = CASE receipt.cost_source WHEN 'operator' THEN 'settled' ELSE 'callback' END,
    resolved_by = writer.resolved_by,
    resolution_note = writer.resolution_note
FROM met
JOIN billing.charge_receipts AS receipt USING (source_system, call_key)
LEFT JOIN incoming_receipts AS writer
    ON (writer.source_system, writer.call_key) = (receipt.source_system, receipt.call_key)
    AND (writer.kafka_topic, writer.kafka_partition, writer.kafka_offset)
        = (receipt.kafka_topic, receipt.kafka_partition, receipt.kafka_offset)
WHERE deferred.id = met.id
    AND deferred.resolved_at IS NULL
