-- Seals: what the rows of a transaction were when they were written. See docs/decisions/0032.

SET LOCAL lock_timeout = '2s';

CREATE TABLE billing.seals (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text        NOT NULL CHECK (kind IN ('receipts', 'corrections')),
    version    smallint    NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    records    integer     NOT NULL CHECK (records > 0),
    digest     bytea       NOT NULL CHECK (octet_length(digest) = 32),
    entries    bytea       NOT NULL,
    person     text,
    sealed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT an_entry_of_eight_bytes_a_record CHECK (octet_length(entries) = 8 * records)
);
-- Nothing is gained by trying to compress digests.
ALTER TABLE billing.seals ALTER COLUMN entries SET STORAGE EXTERNAL;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.seals
FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

CREATE TABLE billing.checkpoints (
    number   bigint      PRIMARY KEY CHECK (number > 0),
    previous bytea       NOT NULL CHECK (octet_length(previous) = 32),
    hash     bytea       NOT NULL CHECK (octet_length(hash) = 32),
    seals    integer     NOT NULL CHECK (seals > 0),
    records  bigint      NOT NULL CHECK (records > 0),
    made_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.checkpoints
FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

-- Which checkpoint a seal is in; NULL until there is one. Nothing rests on this table: a seal that stands
-- in another one's place gives another hash.
CREATE TABLE billing.sealed (
    seal_id    bigint PRIMARY KEY,
    checkpoint bigint
);
CREATE INDEX sealed_without_checkpoint ON billing.sealed (seal_id) WHERE checkpoint IS NULL;
CREATE INDEX sealed_checkpoint ON billing.sealed (checkpoint) WHERE checkpoint IS NOT NULL;

-- They wait with the events of accounts, and the same process publishes them.
ALTER TABLE billing.credit_events
    ALTER COLUMN billing_account_id DROP NOT NULL,
    ADD COLUMN checkpoint bigint,
    DROP CONSTRAINT credit_events_type_check,
    ADD CONSTRAINT credit_events_type_check CHECK (
        type IN ('threshold_crossed', 'exhausted', 'topped_up', 'hold_expired', 'corrected', 'checkpoint')
    ),
    DROP CONSTRAINT of_an_account_or_a_correction,
    ADD CONSTRAINT of_one_thing CHECK (
        (type = 'corrected') = (correction_id IS NOT NULL)
        AND (type = 'checkpoint') = (checkpoint IS NOT NULL)
        AND (type = 'checkpoint' OR billing_account_id IS NOT NULL)
        AND (
            type IN ('corrected', 'checkpoint')
            OR (kind IS NOT NULL AND balance IS NOT NULL AND held IS NOT NULL)
        )
    );
COMMENT ON TABLE billing.credit_events IS 'What other teams are told of accounts, of corrections and of checkpoints, until it is published.';

COMMENT ON TABLE billing.seals IS 'What the rows that one transaction wrote were then: billing verify compares. Append-only.';
COMMENT ON COLUMN billing.seals.version IS 'Which columns are sealed, and how.';
COMMENT ON COLUMN billing.seals.written_at IS 'The transaction''s time, which is created_at of its receipts.';
COMMENT ON COLUMN billing.seals.digest IS 'SHA-256 of the rows'' digests, in their order.';
COMMENT ON COLUMN billing.seals.entries IS 'The first eight bytes of each row''s digest, in the same order.';
COMMENT ON COLUMN billing.seals.person IS 'Who sealed rows later that had no seal; NULL where the writer did.';
COMMENT ON TABLE billing.checkpoints IS 'A chain over the seals, published for others to keep. Append-only.';
COMMENT ON COLUMN billing.checkpoints.hash IS 'SHA-256 of the previous hash and of the seals of this checkpoint.';

GRANT SELECT ON billing.seals, billing.checkpoints, billing.sealed TO billing_consumer, billing_reader;
GRANT INSERT ON billing.seals, billing.checkpoints, billing.sealed TO billing_consumer;
GRANT UPDATE (checkpoint) ON billing.sealed TO billing_consumer;
