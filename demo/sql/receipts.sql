-- The receipts of the demo's calls, with what the calls were.
SELECT
    receipt.litellm_call_id, receipt.billing_account_id,
    nullif(receipt.run_id, receipt.call_key) AS run_id,
    details.sub_agent_id,
    details.model, details.stream, details.tokens_in, details.tokens_out, receipt.charge_reason,
    receipt.response_cost_usd, receipt.charged_usd, receipt.charged_credits
FROM billing.charge_receipts AS receipt
JOIN billing.llm_charge_details AS details ON details.charge_receipt_id = receipt.id
WHERE receipt.litellm_call_id = ANY(%(calls)s)
ORDER BY receipt.occurred_at, receipt.litellm_call_id
