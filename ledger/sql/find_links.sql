-- What is known of background responses, the oldest first. Held until the transaction ends, so that
-- nobody waives one of them meanwhile. May name one of another source with the same link.
SELECT
    deferred.source_system, deferred.link, deferred.call_key, deferred.reason, deferred.kafka_topic,
    deferred.kafka_partition, written.known_offset, deferred.held, deferred.resolution,
    deferred.result_key
FROM billing.deferred_calls AS deferred
CROSS JOIN LATERAL billing.offset_in_topic(
    deferred.kafka_topic, deferred.kafka_partition, deferred.kafka_offset, deferred.deferred_at
) AS written
WHERE deferred.link = ANY(%(links)s)
ORDER BY deferred.id
FOR UPDATE OF deferred
