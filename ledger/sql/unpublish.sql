-- The ledger has a record only now that stands below what is published: Kafka has lost the end of its log, and
-- other records stand there from here on. Nothing of these is published, nor written behind this batch.
UPDATE billing.published_offsets
SET
    published_offset = least(published_offset, %(offset)s),
    next_offset = least(next_offset, %(end)s),
    written_at = now(),
    after_batch_at = now()
WHERE consumer_group = %(group)s AND kafka_topic = %(topic)s AND kafka_partition = %(partition)s
