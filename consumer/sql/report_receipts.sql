SELECT
    receipt.created_at, receipt.billing_account_id, details.model, receipt.run_id,
    details.sub_agent_id, receipt.charge_reason, receipt.response_cost_usd,
    receipt.charged_usd, receipt.charged_credits
FROM billing.charge_receipts AS receipt
JOIN billing.llm_charge_details AS details ON details.charge_receipt_id = receipt.id
ORDER BY receipt.created_at DESC, receipt.id DESC
LIMIT %(limit)s
