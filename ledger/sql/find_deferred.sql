-- A deferral whose receipt came through another partition in the same moment counts as settled. Each
-- line of the condition has an index.
WITH RECURSIVE known (source) AS (
    SELECT min(source_system) FROM billing.deferred_calls
    UNION ALL
    SELECT (SELECT min(source_system) FROM billing.deferred_calls WHERE source_system > known.source)
    FROM known WHERE known.source IS NOT NULL
)
SELECT
    deferred.id, deferred.call_key, deferred.run_id,
    deferred.kafka_topic, deferred.kafka_partition, deferred.kafka_offset,
    coalesce(deferred.resolution, billing.resolution_of(receipt.cost_source)) AS resolution,
    deferred.source_system, deferred.kafka_topic_id, deferred.callback, deferred.received_at
FROM billing.deferred_calls AS deferred
LEFT JOIN billing.charge_receipts AS receipt ON receipt.id = deferred.receipt_id
WHERE deferred.id = %(number)s
    OR (
        deferred.source_system = ANY(ARRAY(SELECT source FROM known))
        AND deferred.call_key = %(name)s
    )
    OR deferred.litellm_call_id = %(name)s
    OR deferred.response_id = %(name)s
ORDER BY deferred.id
