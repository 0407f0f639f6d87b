-- What the ledger has of these requests of clients: a second success of one may be a double.
SELECT
    receipt.source_system, receipt.litellm_call_id, receipt.response_cost_usd,
    details.tokens_in, details.tokens_out, receipt.occurred_at, details.latency_ms
FROM billing.charge_receipts AS receipt
JOIN billing.llm_charge_details AS details ON details.charge_receipt_id = receipt.id
WHERE receipt.litellm_call_id = ANY(ARRAY(SELECT json_array_elements_text(%(calls)s)))
    AND receipt.charge_reason = 'usage'
