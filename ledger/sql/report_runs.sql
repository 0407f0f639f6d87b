SELECT
    receipt.run_id AS run,
    receipt.sub_agent_id AS agent,
    count(*) AS calls,
    trim_scale(sum(receipt.response_cost_usd)) AS "cost USD",
    trim_scale(sum(receipt.charged_usd)) AS "charged USD",
    sum(receipt.charged_credits) AS credits
FROM billing.detailed_receipts AS receipt
WHERE NOT 'unattributed_run' = ANY(receipt.marks)
    AND (%(since)s::timestamptz IS NULL OR receipt.occurred_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR receipt.occurred_at < %(until)s)
    AND (cardinality(%(accounts)s::text[]) = 0 OR receipt.billing_account_id = ANY(%(accounts)s))
    AND (cardinality(%(models)s::text[]) = 0 OR receipt.model = ANY(%(models)s))
GROUP BY receipt.run_id, receipt.sub_agent_id
ORDER BY max(receipt.created_at) DESC, receipt.run_id, receipt.sub_agent_id NULLS FIRST
LIMIT %(limit)s
