-- What executors say of the run or of the call, by the columns that have an index.
SELECT
    unit_id, run_id, attempt, litellm_call_id, response_id, executor, model, sub_agent_id,
    tokens_in, tokens_out, finished_at
FROM billing.usage_units
WHERE litellm_call_id = ANY(%(calls)s) OR run_id = %(name)s OR unit_id = %(id)s
ORDER BY finished_at, unit_id
LIMIT %(limit)s
