-- Everything below next_offset of this partition has been published by this group. Written in the
-- transaction of the batch that follows; read only when Kafka has lost the group's own offset.
CREATE TABLE billing.published_offsets (
    consumer_group text NOT NULL,
    kafka_topic text NOT NULL,
    kafka_partition integer NOT NULL,
    topic_id text NOT NULL,
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, kafka_topic, kafka_partition)
) WITH (fillfactor = 50);

GRANT SELECT ON billing.published_offsets TO billing_consumer, billing_reader;
GRANT INSERT, UPDATE (topic_id, next_offset, written_at)
ON billing.published_offsets TO billing_consumer;
