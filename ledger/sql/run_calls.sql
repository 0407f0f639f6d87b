-- The first calls of a run, charged and open ones, in the order of their ends.
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
        spend.ended_at AS ended, trim_scale(spend.charged_usd) AS "charged USD",
        spend.charged_credits::numeric AS credits, spend.call_key
    FROM billing.spend AS spend
    WHERE spend.run_id = %(run)s AND NOT 'unattributed_run' = ANY(spend.marks)
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
