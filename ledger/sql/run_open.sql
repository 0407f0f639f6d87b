-- The calls of a run that have no receipt yet, by the names that run_sums has.
SELECT
    sub_agent_id AS agent,
    parent_sub_agent_id AS under,
    CASE WHEN sub_agent_id IS NULL THEN model END AS model,
    count(*) AS open
FROM billing.open_deferrals
WHERE run_id = %(run)s AND run_id <> call_key
GROUP BY 1, 2, 3
