-- Where a batch's deferrals land by COPY before they are merged.
CREATE TEMP TABLE incoming_deferred ON COMMIT DROP AS
SELECT
    0 AS ordinal, source_system, call_key, litellm_call_id, response_id, reason, suggested_cost_usd,
    run_id, model, provider, tokens_in, tokens_out, kafka_topic, kafka_partition, kafka_offset,
    occurred_at, sent_cost, link, held, resolved_by, resolution_note, receipt_id, started_at, billing_account_id,
    team_id, team_alias, key_alias, key_hash, user_id, organization_id, sub_agent_id,
    parent_sub_agent_id, tags, callback, received_at
FROM billing.deferred_calls
WITH NO DATA
