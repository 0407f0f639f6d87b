SELECT
    receipt.billing_account_id AS account,
    count(*) AS receipts,
    trim_scale(sum(receipt.response_cost_usd)) AS "cost USD",
    trim_scale(sum(receipt.charged_usd)) AS "charged USD",
    sum(receipt.charged_credits) AS credits
FROM billing.charge_receipts AS receipt
JOIN billing.llm_charge_details AS details ON details.charge_receipt_id = receipt.id
WHERE (%(since)s::timestamptz IS NULL OR receipt.occurred_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR receipt.occurred_at < %(until)s)
    AND (cardinality(%(accounts)s::text[]) = 0 OR receipt.billing_account_id = ANY(%(accounts)s))
    AND (cardinality(%(models)s::text[]) = 0 OR details.model = ANY(%(models)s))
GROUP BY receipt.billing_account_id
ORDER BY credits DESC, receipt.billing_account_id
LIMIT %(limit)s
