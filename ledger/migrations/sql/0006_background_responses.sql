-- A response that is made in the background is told of by its create and by each read of it. Where
-- one of them comes without the other, it waits here, under the link that they share: a create for
-- its result, a read for its create. `held` is the receipt that is to be written, or whose the
-- create is; `result_key` is the call key of the result that a create has had.
ALTER TABLE billing.deferred_calls
    ADD COLUMN link text,
    ADD COLUMN held jsonb,
    ADD COLUMN result_key text,
    DROP CONSTRAINT deferred_calls_reason_check,
    ADD CONSTRAINT deferred_calls_reason_check CHECK (reason IN (
        'suspicious_zero', 'missing_cost', 'unusable_cost',
        'awaiting_result', 'awaiting_create', 'ambiguous_read'));
CREATE INDEX deferred_calls_link ON billing.deferred_calls (link) WHERE link IS NOT NULL;
GRANT UPDATE (result_key) ON billing.deferred_calls TO billing_consumer;
