-- Never back within a topic: a member that wakes late knows less than the one that took over.
INSERT INTO billing.published_offsets AS known
    (consumer_group, kafka_topic, kafka_partition, topic_id, next_offset)
SELECT * FROM unnest(
    %(groups)s::text[], %(topics)s::text[], %(partitions)s::int[], %(ids)s::text[],
    %(offsets)s::bigint[]
)
ON CONFLICT (consumer_group, kafka_topic, kafka_partition) DO UPDATE
SET topic_id = excluded.topic_id, next_offset = excluded.next_offset, written_at = now()
WHERE known.topic_id <> excluded.topic_id OR known.next_offset < excluded.next_offset
