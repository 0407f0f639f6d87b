INSERT INTO billing.usage_units (
    unit_id, run_id, attempt, run_completed, billing_account_id, litellm_call_id, response_id, executor,
    model, graph_id, sub_agent_id, parent_sub_agent_id, tool_call_id, tokens_in, tokens_out, started_at,
    finished_at, kafka_topic, kafka_partition, kafka_offset
)
VALUES (
    %(unit_id)s, %(run_id)s, %(attempt)s, %(run_completed)s, %(billing_account_id)s, %(litellm_call_id)s,
    %(response_id)s, %(executor)s, %(model)s, %(graph_id)s, %(sub_agent_id)s, %(parent_sub_agent_id)s,
    %(tool_call_id)s, %(tokens_in)s, %(tokens_out)s, %(started_at)s, %(finished_at)s,
    %(kafka_topic)s, %(kafka_partition)s, %(kafka_offset)s
)
ON CONFLICT (unit_id) DO NOTHING
