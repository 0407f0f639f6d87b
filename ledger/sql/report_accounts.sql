SELECT
    receipt.billing_account_id AS account,
    count(*) AS receipts,
    trim_scale(sum(receipt.response_cost_usd)) AS "cost USD",
    trim_scale(sum(receipt.charged_usd)) AS "charged USD",
    sum(receipt.charged_credits) AS credits
FROM billing.detailed_receipts AS receipt
WHERE (%(since)s::timestamptz IS NULL OR receipt.occurred_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR receipt.occurred_at < %(until)s)
    AND (cardinality(%(accounts)s::text[]) = 0 OR receipt.billing_account_id = ANY(%(accounts)s))
    AND (cardinality(%(models)s::text[]) = 0 OR receipt.model = ANY(%(models)s))
GROUP BY receipt.billing_account_id
ORDER BY credits DESC, receipt.billing_account_id
LIMIT %(limit)s
