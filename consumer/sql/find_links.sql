-- What is known of background responses, the oldest first. Held until the transaction ends, so that
-- nobody waives one of them meanwhile. May name one of another source with the same link.
SELECT
    source_system, link, call_key, reason, kafka_topic, kafka_partition, kafka_offset, held,
    resolution, result_key
FROM billing.deferred_calls
WHERE link = ANY(%(links)s)
ORDER BY id
FOR UPDATE
