-- Records that nobody can read any more, from first_offset up to before next_offset.
INSERT INTO billing.lost_records (
    consumer_group, kafka_topic, kafka_partition, topic_id, first_offset, next_offset, reason
)
VALUES (
    %(group)s, %(topic)s, %(partition)s, %(topic_id)s, %(first)s, %(end)s, %(reason)s
)
