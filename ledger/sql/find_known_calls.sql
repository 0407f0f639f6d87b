-- What the ledger has of some calls: by receipt id and call key, or by the clients' and the providers' ids,
-- of which several calls may share one. A call may be told twice.
WITH calls AS (
    SELECT call, hashtextextended(call, 0) AS hash FROM json_array_elements_text(%(calls)s) AS call
),
responses AS (
    SELECT response, hashtextextended(response, 0) AS hash
    FROM json_array_elements_text(%(responses)s) AS response
),
receipts AS (
    SELECT id FROM billing.charge_receipts
    WHERE id = ANY(ARRAY(SELECT id_::uuid FROM json_array_elements_text(%(ids)s) AS id_))
    UNION
    (SELECT id FROM billing.charge_receipts
    WHERE hashtextextended(litellm_call_id, 0) = ANY(ARRAY(SELECT hash FROM calls))
        AND litellm_call_id = ANY(ARRAY(SELECT call FROM calls))
    LIMIT %(limit)s)
    UNION
    (SELECT id FROM billing.charge_receipts
    WHERE hashtextextended(response_id, 0) = ANY(ARRAY(SELECT hash FROM responses))
        AND response_id = ANY(ARRAY(SELECT response FROM responses))
    LIMIT %(limit)s)
),
deferrals AS (
    SELECT id FROM billing.deferred_calls
    WHERE source_system = %(source)s
        AND call_key = ANY(ARRAY(SELECT json_array_elements_text(%(keys)s)))
    UNION
    (SELECT id FROM billing.deferred_calls
    WHERE litellm_call_id = ANY(ARRAY(SELECT call FROM calls))
    LIMIT %(limit)s)
    UNION
    (SELECT id FROM billing.deferred_calls
    WHERE response_id = ANY(ARRAY(SELECT response FROM responses))
    LIMIT %(limit)s)
)
SELECT
    receipt.id, receipt.source_system, receipt.call_key, receipt.litellm_call_id, receipt.response_id,
    receipt.response_cost_usd, receipt.cost_source, receipt.run_id, receipt.occurred_at,
    receipt.created_at, conflict.there IS NOT NULL, false
FROM billing.charge_receipts AS receipt
-- One by one: PostgreSQL would read all conflicts there are to answer EXISTS for many.
LEFT JOIN LATERAL (
    SELECT true AS there FROM billing.receipt_conflicts AS conflict
    WHERE conflict.source_system = receipt.source_system AND conflict.call_key = receipt.call_key
    LIMIT 1
) AS conflict ON true
WHERE receipt.id = ANY(ARRAY(SELECT id FROM receipts))
UNION ALL
SELECT
    NULL, deferred.source_system, deferred.call_key, deferred.litellm_call_id, deferred.response_id,
    NULL, NULL, deferred.run_id, deferred.occurred_at, deferred.deferred_at, false,
    deferred.resolution IS NULL AND deferred.reason IN ('suspicious_zero', 'missing_cost', 'unusable_cost')
FROM billing.deferred_calls AS deferred
WHERE deferred.id = ANY(ARRAY(SELECT id FROM deferrals))
