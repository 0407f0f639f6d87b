-- What the ledger has of these requests of clients: a second success of one may be a double. The hash
-- is what the index has.
SELECT
    receipt.source_system, receipt.litellm_call_id, receipt.response_cost_usd,
    receipt.tokens_in, receipt.tokens_out, receipt.occurred_at, receipt.latency_ms
FROM billing.detailed_receipts AS receipt
WHERE hashtextextended(receipt.litellm_call_id, 0) = ANY(ARRAY(
        SELECT hashtextextended(call, 0) FROM json_array_elements_text(%(calls)s) AS call
    ))
    AND receipt.litellm_call_id = ANY(ARRAY(SELECT json_array_elements_text(%(calls)s)))
    AND receipt.charge_reason = 'usage'
