-- What the ledger knows of partitions. Rows that the release before wrote last have in next_offset
-- what was published, and nothing after a batch.
SELECT
    known.kafka_topic, known.kafka_partition, known.topic_id, known.next_offset,
    CASE
        WHEN known.after_batch_at IS NOT DISTINCT FROM known.written_at
            THEN least(known.published_offset, known.next_offset)
        ELSE known.next_offset
    END AS published_offset,
    known.after_batch_at IS DISTINCT FROM known.written_at AS former
FROM unnest(%(topics)s::text[], %(partitions)s::int[]) AS asked (kafka_topic, kafka_partition)
JOIN billing.published_offsets AS known USING (kafka_topic, kafka_partition)
WHERE known.consumer_group = %(group)s
