-- A cost that is no money defers the call, with the sender's text of it. Kept apart from what can be
-- charged: nothing computes with it.
ALTER TABLE billing.deferred_calls
    ADD COLUMN sent_cost text,
    DROP CONSTRAINT deferred_calls_reason_check,
    ADD CONSTRAINT deferred_calls_reason_check CHECK (
        reason IN ('suspicious_zero', 'missing_cost', 'unusable_cost')),
    ADD CONSTRAINT unusable_cost_says_what CHECK ((reason = 'unusable_cost') = (sent_cost IS NOT NULL));
