-- What is known of background responses, the oldest first. Held until the transaction ends, so that
-- nobody waives one of them meanwhile. May name one of another source with the same link. What is
-- older than the topic of that name was written from another topic's record.
SELECT
    deferred.source_system, deferred.link, deferred.call_key, deferred.reason, deferred.kafka_topic,
    deferred.kafka_partition,
    CASE
        WHEN deferred.deferred_at < (
            SELECT min(known.topic_since)
            FROM billing.published_offsets AS known
            WHERE known.kafka_topic = deferred.kafka_topic
                AND known.kafka_partition = deferred.kafka_partition
        ) THEN -1
        ELSE deferred.kafka_offset
    END AS kafka_offset,
    deferred.held, deferred.resolution, deferred.result_key
FROM billing.deferred_calls AS deferred
WHERE deferred.link = ANY(%(links)s)
ORDER BY deferred.id
FOR UPDATE OF deferred
