SELECT
    receipt.created_at AS written,
    receipt.billing_account_id AS account,
    receipt.model,
    CASE WHEN NOT 'unattributed_run' = ANY(receipt.marks) THEN receipt.run_id END AS run,
    receipt.sub_agent_id AS agent,
    receipt.charge_reason AS reason,
    receipt.response_cost_usd AS "cost USD",
    receipt.charged_usd AS "charged USD",
    receipt.charged_credits::numeric AS credits
FROM billing.detailed_receipts AS receipt
WHERE (%(since)s::timestamptz IS NULL OR receipt.occurred_at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR receipt.occurred_at < %(until)s)
    AND (cardinality(%(accounts)s::text[]) = 0 OR receipt.billing_account_id = ANY(%(accounts)s))
    AND (cardinality(%(models)s::text[]) = 0 OR receipt.model = ANY(%(models)s))
ORDER BY receipt.created_at DESC, receipt.id DESC
LIMIT %(limit)s
