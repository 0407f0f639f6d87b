-- next_offset: everything below it has been written by this group, in the batch's own transaction.
-- published_offset: everything below it has been published, too. A row whose after_batch_at is not
-- its written_at was written last by the release before, whose next_offset is what was published.
-- topic_since: when another topic took the place of an earlier one of the same name.
ALTER TABLE billing.published_offsets
    ADD COLUMN published_offset bigint CHECK (published_offset >= 0),
    ADD COLUMN after_batch_at timestamptz,
    ADD COLUMN topic_since timestamptz NOT NULL DEFAULT '-infinity';
GRANT UPDATE (published_offset, after_batch_at, topic_since)
ON billing.published_offsets TO billing_consumer;

-- Records without an outcome that nobody can read any more, each once: Kafka deleted them before
-- they were read, or the ledger lost what it had of them and Kafka has them no longer.
CREATE TABLE billing.lost_records (
    id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer_group  text        NOT NULL,
    kafka_topic     text        NOT NULL,
    kafka_partition integer     NOT NULL,
    topic_id        text        NOT NULL,
    first_offset    bigint      NOT NULL CHECK (first_offset >= 0),
    next_offset     bigint      NOT NULL,
    reason          text        NOT NULL CHECK (reason IN ('expired', 'never_read', 'ledger_lost')),
    detected_at     timestamptz NOT NULL DEFAULT now(),
    CHECK (next_offset > first_offset)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.lost_records
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
GRANT SELECT ON billing.lost_records TO billing_consumer, billing_reader;
GRANT INSERT ON billing.lost_records TO billing_consumer;

-- Offsets mean other records once the topic was made anew: which topic a deferred call stands in.
-- Calls that were deferred before do not know it.
ALTER TABLE billing.deferred_calls ADD COLUMN kafka_topic_id text;
