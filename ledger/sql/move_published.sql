-- Read a partition on from somewhere else, unless another member has changed what we saw there.
INSERT INTO billing.published_offsets AS known (
    consumer_group, kafka_topic, kafka_partition, topic_id, next_offset, published_offset,
    after_batch_at
)
VALUES (
    %(group)s, %(topic)s, %(partition)s, %(topic_id)s, %(next_offset)s, %(next_offset)s, now()
)
ON CONFLICT (consumer_group, kafka_topic, kafka_partition) DO UPDATE
SET
    topic_id = excluded.topic_id,
    next_offset = excluded.next_offset,
    published_offset = excluded.published_offset,
    topic_since = CASE
        WHEN known.topic_id = excluded.topic_id THEN known.topic_since ELSE now()
    END,
    written_at = now(),
    after_batch_at = now()
WHERE known.topic_id = %(seen_id)s::text AND known.next_offset = %(seen_offset)s::bigint
    -- The same as `find_published` says: where a log was cut, another one may have come as far as before.
    AND CASE
        WHEN known.after_batch_at IS NOT DISTINCT FROM known.written_at
            THEN least(known.published_offset, known.next_offset)
        ELSE known.next_offset
    END = %(seen_published)s::bigint
