-- Up to where partitions are written and published. Never back within a topic: a member that wakes
-- late knows less than the one that took over. Returns those of which the ledger had known less than
-- the group has committed: whoever is told so must roll this back, as it would hide what is lost. And
-- those of which more had been published than was said, as their records are read again, with that.
WITH given AS (
    SELECT *
    FROM unnest(
        %(groups)s::text[], %(topics)s::text[], %(partitions)s::int[], %(ids)s::text[],
        %(offsets)s::bigint[], %(published)s::bigint[], %(committed)s::bigint[]
    ) AS given (
        consumer_group, kafka_topic, kafka_partition, topic_id, next_offset, published_offset, committed
    )
),
before AS (
    SELECT
        given.kafka_topic, given.kafka_partition, given.published_offset AS said,
        coalesce(known.next_offset, 0) < given.committed AS behind,
        CASE
            WHEN known.after_batch_at IS NOT DISTINCT FROM known.written_at
                THEN least(known.published_offset, known.next_offset)
            ELSE known.next_offset
        END AS published_offset
    FROM given
    LEFT JOIN billing.published_offsets AS known
        USING (consumer_group, kafka_topic, kafka_partition, topic_id)
),
remembered AS (
    INSERT INTO billing.published_offsets AS known (
        consumer_group, kafka_topic, kafka_partition, topic_id, next_offset, published_offset,
        after_batch_at
    )
    SELECT
        consumer_group, kafka_topic, kafka_partition, topic_id, next_offset, published_offset, now()
    FROM given
    ON CONFLICT (consumer_group, kafka_topic, kafka_partition) DO UPDATE
    SET
        topic_id = excluded.topic_id,
        next_offset = CASE
            WHEN known.topic_id = excluded.topic_id
                THEN greatest(known.next_offset, excluded.next_offset)
            ELSE excluded.next_offset
        END,
        published_offset = CASE
            WHEN known.topic_id = excluded.topic_id
                THEN greatest(known.published_offset, excluded.published_offset)
            ELSE excluded.published_offset
        END,
        topic_since = CASE
            WHEN known.topic_id = excluded.topic_id THEN known.topic_since ELSE now()
        END,
        written_at = now(),
        after_batch_at = now()
    WHERE known.topic_id <> excluded.topic_id
        OR known.next_offset < excluded.next_offset
        OR known.published_offset IS NULL
        OR known.published_offset < excluded.published_offset
)
SELECT kafka_topic, kafka_partition, behind, published_offset
FROM before
WHERE behind OR published_offset > said
