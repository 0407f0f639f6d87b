SELECT
    spent.account,
    count(*) FILTER (WHERE spent.cost_source <> 'correction') AS receipts,
    trim_scale(sum(spent.response_cost_usd)) AS "cost USD",
    trim_scale(sum(spent.charged_usd)) AS "charged USD",
    sum(spent.charged_credits) AS credits
FROM billing.spend AS spent
WHERE (%(since)s::timestamptz IS NULL OR spent.ended_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR spent.ended_at < %(until)s)
    AND (cardinality(%(accounts)s::text[]) = 0 OR spent.account = ANY(%(accounts)s))
    AND (cardinality(%(models)s::text[]) = 0 OR spent.model = ANY(%(models)s))
GROUP BY spent.account
ORDER BY credits DESC, spent.account
LIMIT %(limit)s
