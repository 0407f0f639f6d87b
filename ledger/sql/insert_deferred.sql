-- Open a deferral for each call once; one whose receipt is already there is settled at birth, so
-- that the order in which the two callbacks arrive makes no difference. Who settled it by hand comes
-- with it where the same batch wrote that receipt, as a rebuild does. Returns the new ordinals.
-- The rows come as JSON: they are few and small, and to create and fill a temporary table for them
-- takes longer than the rest of this. A NUL is refused, as it is by every text.
WITH first AS (
    SELECT DISTINCT ON (source_system, call_key) *
    FROM json_to_recordset(%(rows)s) AS incoming (
        ordinal integer, source_system text, call_key text, litellm_call_id text, response_id text, reason text,
        suggested_cost_usd numeric, run_id text, model text, provider text, tokens_in bigint, tokens_out bigint,
        kafka_topic text, kafka_partition integer, kafka_offset bigint, occurred_at timestamptz, sent_cost text,
        link text, held jsonb, resolved_by text, resolution_note text, receipt_id uuid, started_at timestamptz,
        billing_account_id text, team_id text, team_alias text, key_alias text, key_hash text, user_id text,
        organization_id text, sub_agent_id text, parent_sub_agent_id text, tags text [], callback text,
        received_at timestamptz
    )
    ORDER BY source_system, call_key, ordinal
),
judged AS (
    SELECT
        first.*,
        billing.resolution_of(receipt.cost_source) AS resolution
    FROM first
    LEFT JOIN billing.charge_receipts AS receipt ON receipt.id = first.receipt_id
),
opened AS (
    INSERT INTO billing.deferred_calls (
        source_system, call_key, litellm_call_id, response_id, reason, suggested_cost_usd, run_id,
        model, provider, tokens_in, tokens_out, kafka_topic, kafka_partition, kafka_offset,
        occurred_at, sent_cost, link, held, resolved_at, resolution, resolved_by, resolution_note,
        receipt_id, started_at, billing_account_id,
        team_id, team_alias, key_alias, key_hash, user_id, organization_id, sub_agent_id,
        parent_sub_agent_id, tags, callback, received_at,
        kafka_topic_id
    )
    SELECT
        source_system, call_key, litellm_call_id, response_id, reason, suggested_cost_usd, run_id,
        model, provider, tokens_in, tokens_out, kafka_topic, kafka_partition, kafka_offset,
        occurred_at, sent_cost, link, held, CASE WHEN resolution IS NOT NULL THEN now() END, resolution,
        resolved_by, resolution_note, receipt_id, started_at, billing_account_id,
        team_id, team_alias, key_alias, key_hash, user_id, organization_id, sub_agent_id,
        parent_sub_agent_id, tags, decode(callback, 'base64'), received_at,
        -- Written in this transaction, or in one before it where the batch goes in parts.
        (
            SELECT known.topic_id
            FROM billing.published_offsets AS known
            WHERE known.kafka_topic = judged.kafka_topic
                AND known.kafka_partition = judged.kafka_partition
            ORDER BY known.written_at DESC
            LIMIT 1
        )
    FROM judged
    ORDER BY source_system, call_key
    ON CONFLICT ON CONSTRAINT one_deferral_per_call DO NOTHING
    RETURNING source_system, call_key
),
-- Left open by two members that wrote the deferral and the receipt in the same moment.
settled AS (
    UPDATE billing.deferred_calls AS deferred
    SET
        resolved_at = now(),
        resolution = judged.resolution,
        resolved_by = judged.resolved_by,
        resolution_note = judged.resolution_note
    FROM judged
    WHERE deferred.source_system = judged.source_system
        AND deferred.call_key = judged.call_key
        AND deferred.resolved_at IS NULL
        AND judged.resolution IS NOT NULL
)
SELECT first.ordinal
FROM first
JOIN opened USING (source_system, call_key)
