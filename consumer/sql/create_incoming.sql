-- Where a batch's deferrals land by COPY before they are merged. Lives with the connection, empty
-- between batches.
CREATE TEMP TABLE incoming_deferred (
    ordinal integer NOT NULL,
    LIKE billing.deferred_calls
) ON COMMIT DELETE ROWS;
ALTER TABLE incoming_deferred
    DROP COLUMN id,
    DROP COLUMN deferred_at,
    DROP COLUMN resolved_at,
    DROP COLUMN resolution,
    DROP COLUMN result_key;
