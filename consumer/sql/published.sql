SELECT topic_id, next_offset
FROM billing.published_offsets
WHERE consumer_group = %(group)s AND kafka_topic = %(topic)s AND kafka_partition = %(partition)s
