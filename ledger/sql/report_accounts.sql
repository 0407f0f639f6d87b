SELECT
    billing_account_id AS account,
    count(*) AS receipts,
    trim_scale(sum(response_cost_usd)) AS "cost USD",
    trim_scale(sum(charged_usd)) AS "charged USD",
    sum(charged_credits) AS credits
FROM billing.charge_receipts
GROUP BY billing_account_id
ORDER BY credits DESC, billing_account_id
LIMIT %(limit)s
