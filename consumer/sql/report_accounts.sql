SELECT
    billing_account_id, count(*) AS receipts, sum(response_cost_usd) AS response_cost_usd,
    sum(charged_usd) AS charged_usd, sum(charged_credits) AS charged_credits
FROM billing.charge_receipts
GROUP BY billing_account_id
ORDER BY charged_credits DESC, billing_account_id
LIMIT %(limit)s
