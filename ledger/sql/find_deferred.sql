-- A deferral whose receipt came through another partition in the same moment counts as settled.
SELECT
    deferred.id, deferred.call_key, deferred.run_id,
    deferred.kafka_topic, deferred.kafka_partition, deferred.kafka_offset,
    coalesce(
        deferred.resolution,
        CASE
            WHEN receipt.cost_source = 'operator' THEN 'settled'
            WHEN receipt.id IS NOT NULL THEN 'callback'
        END
    ) AS resolution,
    deferred.source_system, deferred.kafka_topic_id
FROM billing.deferred_calls AS deferred
LEFT JOIN billing.charge_receipts AS receipt USING (source_system, call_key)
WHERE %(name)s IN (
    deferred.id::text, deferred.call_key, deferred.litellm_call_id, deferred.response_id
)
ORDER BY deferred.id
