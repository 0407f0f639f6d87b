SELECT
    spent.created_at AS written,
    spent.account,
    spent.model,
    CASE WHEN NOT 'unattributed_run' = ANY(spent.marks) THEN spent.run_id END AS run,
    spent.sub_agent_id AS agent,
    spent.charge_reason AS reason,
    spent.response_cost_usd AS "cost USD",
    spent.charged_usd AS "charged USD",
    spent.charged_credits::numeric AS credits
FROM billing.spend AS spent
WHERE (%(since)s::timestamptz IS NULL OR spent.ended_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR spent.ended_at < %(until)s)
    AND (cardinality(%(accounts)s::text[]) = 0 OR spent.account = ANY(%(accounts)s))
    AND (cardinality(%(models)s::text[]) = 0 OR spent.model = ANY(%(models)s))
ORDER BY spent.created_at DESC, spent.receipt_id DESC
LIMIT %(limit)s
