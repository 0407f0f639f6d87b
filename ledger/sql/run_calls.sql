-- The first calls of a run, charged and open ones, in the order of their ends; each with its corrections.
SELECT
    agent, under, model, signature, call, attempt, ended, "charged USD", credits
FROM (
    SELECT
        spend.sub_agent_id AS agent, spend.parent_sub_agent_id AS under, spend.model,
        CASE
            WHEN 'attribution_signed' = ANY(spend.marks) THEN 'signed'
            WHEN 'attribution_forged' = ANY(spend.marks) THEN 'forged'
            WHEN 'attribution_unknown_key' = ANY(spend.marks) THEN 'unknown key'
            ELSE 'unsigned'
        END AS signature,
        coalesce(spend.litellm_call_id, spend.response_id) AS call, spend.attempt,
        min(spend.ended_at) FILTER (WHERE spend.cost_source <> 'correction') AS ended,
        trim_scale(sum(spend.charged_usd)) AS "charged USD", sum(spend.charged_credits) AS credits, spend.call_key
    FROM billing.spend AS spend
    WHERE spend.run_id = %(run)s AND NOT 'unattributed_run' = ANY(spend.marks)
    GROUP BY spend.receipt_id, 1, 2, 3, 4, 5, 6, spend.call_key
    UNION ALL
    SELECT
        deferred.sub_agent_id, deferred.parent_sub_agent_id, deferred.model, NULL,
        coalesce(deferred.litellm_call_id, deferred.response_id), NULL, deferred.occurred_at, NULL,
        NULL, deferred.call_key
    FROM billing.open_deferrals AS deferred
    WHERE deferred.run_id = %(run)s AND deferred.run_id <> deferred.call_key
) AS found
ORDER BY ended, call_key
LIMIT %(limit)s
