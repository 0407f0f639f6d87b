SELECT kafka_topic, kafka_partition, next_offset
FROM billing.published_offsets
WHERE consumer_group = %(group)s
