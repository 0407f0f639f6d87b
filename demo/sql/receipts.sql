-- The receipts of the demo's calls, with what the calls were.
SELECT
    receipt.litellm_call_id, receipt.billing_account_id,
    nullif(receipt.run_id, receipt.call_key) AS run_id,
    receipt.sub_agent_id,
    receipt.model, receipt.stream, receipt.tokens_in, receipt.tokens_out, receipt.charge_reason,
    receipt.response_cost_usd, receipt.charged_usd, receipt.charged_credits
FROM billing.detailed_receipts AS receipt
WHERE receipt.litellm_call_id = ANY(%(calls)s)
ORDER BY receipt.occurred_at, receipt.litellm_call_id
