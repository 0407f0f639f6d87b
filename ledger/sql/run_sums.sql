-- What the calls of a run have cost, by who made them and what their signatures are worth. A call
-- that names no agent goes by its model; corrections count with the receipt that they put right.
SELECT
    spend.sub_agent_id AS agent,
    spend.parent_sub_agent_id AS under,
    CASE WHEN spend.sub_agent_id IS NULL THEN spend.model END AS model,
    CASE
        WHEN 'attribution_signed' = ANY(spend.marks) THEN 'signed'
        WHEN 'attribution_forged' = ANY(spend.marks) THEN 'forged'
        WHEN 'attribution_unknown_key' = ANY(spend.marks) THEN 'unknown key'
        ELSE 'unsigned'
    END AS signature,
    count(*) FILTER (WHERE spend.cost_source <> 'correction') AS calls,
    trim_scale(sum(spend.charged_usd)) AS "charged USD",
    sum(spend.charged_credits) AS credits
FROM billing.spend AS spend
WHERE spend.run_id = %(run)s AND NOT 'unattributed_run' = ANY(spend.marks)
GROUP BY 1, 2, 3, 4
