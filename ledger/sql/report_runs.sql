SELECT
    spent.run_id AS run,
    spent.sub_agent_id AS agent,
    count(*) FILTER (WHERE spent.cost_source <> 'correction') AS calls,
    trim_scale(sum(spent.response_cost_usd)) AS "cost USD",
    trim_scale(sum(spent.charged_usd)) AS "charged USD",
    sum(spent.charged_credits) AS credits
FROM billing.spend AS spent
WHERE NOT 'unattributed_run' = ANY(spent.marks)
    AND (%(since)s::timestamptz IS NULL OR spent.ended_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR spent.ended_at < %(until)s)
    AND (cardinality(%(accounts)s::text[]) = 0 OR spent.account = ANY(%(accounts)s))
    AND (cardinality(%(models)s::text[]) = 0 OR spent.model = ANY(%(models)s))
GROUP BY spent.run_id, spent.sub_agent_id
ORDER BY max(spent.created_at) DESC, spent.run_id, spent.sub_agent_id NULLS FIRST
LIMIT %(limit)s
