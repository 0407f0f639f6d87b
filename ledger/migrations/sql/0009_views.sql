-- May be applied over itself: nothing of it is lost by that.

-- A deferral is open while nobody has resolved it and its call has no receipt: one whose receipt came
-- through another partition in the same moment counts as settled. `waiting` says that it waits for
-- another callback of its response, which is no matter for a person before a day.
CREATE OR REPLACE VIEW billing.open_deferrals AS
SELECT
    deferred.id, deferred.source_system, deferred.call_key, deferred.litellm_call_id,
    deferred.response_id, deferred.reason,
    deferred.reason IN ('awaiting_result', 'awaiting_create') AS waiting,
    deferred.suggested_cost_usd, deferred.sent_cost, deferred.run_id, deferred.model,
    deferred.provider, deferred.tokens_in, deferred.tokens_out, deferred.kafka_topic,
    deferred.kafka_topic_id, deferred.kafka_partition, deferred.kafka_offset, deferred.occurred_at,
    deferred.deferred_at, deferred.resolved_at, deferred.resolution, deferred.resolved_by,
    deferred.resolution_note
FROM billing.deferred_calls AS deferred
WHERE deferred.resolved_at IS NULL
    AND NOT EXISTS (
        SELECT FROM billing.charge_receipts AS receipt
        WHERE receipt.source_system = deferred.source_system
            AND receipt.call_key = deferred.call_key
    );
GRANT SELECT ON billing.open_deferrals TO billing_consumer, billing_reader;
-- To waive one is to update the view: the condition is looked at again when somebody was faster.
GRANT UPDATE (resolved_at, resolution, resolved_by, resolution_note)
ON billing.open_deferrals TO billing_consumer;

-- The offset of the record that a row was written from, in the topic that has this name now; -1 where
-- the row is older than that topic and was written from another one's record. A function of SQL that
-- returns a set is planned as a part of the question.
CREATE OR REPLACE FUNCTION billing.offset_in_topic(
    kafka_topic text, kafka_partition integer, kafka_offset bigint, written_at timestamptz
)
RETURNS TABLE (known_offset bigint)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT CASE
        WHEN offset_in_topic.written_at < (
            SELECT min(known.topic_since)
            FROM billing.published_offsets AS known
            WHERE known.kafka_topic = offset_in_topic.kafka_topic
                AND known.kafka_partition = offset_in_topic.kafka_partition
        ) THEN -1
        ELSE offset_in_topic.kafka_offset
    END;
END;

-- What the tables are, for whoever looks at the database instead of the code.
COMMENT ON TABLE billing.charge_receipts IS 'This call was charged this much. Append-only.';
COMMENT ON TABLE billing.llm_charge_details IS 'What a receipt says of the call itself, a row each. Append-only.';
COMMENT ON TABLE billing.deferred_calls IS 'Calls that should have cost something and say zero or nothing, open and resolved.';
COMMENT ON TABLE billing.receipt_conflicts IS 'Callbacks that contradict the receipt of their call; it stays as it is. Append-only.';
COMMENT ON TABLE billing.usage_units IS 'What executors say of their calls, to compare with; never billed.';
COMMENT ON TABLE billing.published_offsets IS 'Up to where each group has written and published each partition.';
COMMENT ON TABLE billing.lost_records IS 'Records without an outcome that nobody can read any more. Append-only.';
COMMENT ON VIEW billing.open_deferrals IS 'Deferred calls that nobody has resolved and that have no receipt.';
COMMENT ON COLUMN billing.charge_receipts.response_cost_usd IS 'LiteLLM''s figure, untouched.';
COMMENT ON COLUMN billing.charge_receipts.charged_credits IS 'charged_usd times 10,000,000, rounded up once.';
COMMENT ON COLUMN billing.charge_receipts.kafka_offset IS 'With topic and partition: the record that it was written from.';
COMMENT ON COLUMN billing.deferred_calls.sent_cost IS 'The sender''s text of a cost that is no money; nothing computes with it.';
COMMENT ON COLUMN billing.deferred_calls.link IS 'What all callbacks of one background response share.';
COMMENT ON COLUMN billing.deferred_calls.held IS 'The receipt that is to be written, or whose the create is.';
COMMENT ON COLUMN billing.deferred_calls.result_key IS 'The call key of the result that a create has had.';
COMMENT ON COLUMN billing.deferred_calls.kafka_topic_id IS 'Which topic of that name; NULL where that was not kept yet.';
COMMENT ON COLUMN billing.published_offsets.next_offset IS 'Everything below it is written.';
COMMENT ON COLUMN billing.published_offsets.published_offset IS 'Everything below it is published, too.';
COMMENT ON COLUMN billing.published_offsets.after_batch_at IS 'Not written_at where a release before 0007 wrote last.';
COMMENT ON COLUMN billing.published_offsets.topic_since IS 'When this topic took the place of an earlier one of the same name.';
COMMENT ON COLUMN billing.open_deferrals.waiting IS 'For another callback of its response: no matter for a person before a day.';
