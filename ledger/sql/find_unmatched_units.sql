-- What executors say they called and the books know nothing of, of any source: a unit names none.
SELECT
    unit.unit_id, unit.run_id, unit.attempt, unit.litellm_call_id, unit.response_id, unit.executor,
    unit.model, unit.finished_at
FROM billing.usage_units AS unit
WHERE (%(start)s::timestamptz IS NULL OR unit.finished_at >= %(start)s)
    AND (%(until)s::timestamptz IS NULL OR unit.finished_at < %(until)s)
    AND (%(run)s::text IS NULL OR (unit.run_id = %(run)s AND unit.attempt = %(attempt)s))
    AND NOT unit.run_completed
    -- One that names no call and says who pays for the run is of no call.
    AND (
        unit.billing_account_id IS NULL
        OR unit.litellm_call_id IS NOT NULL
        OR unit.response_id IS NOT NULL
    )
    AND NOT EXISTS (
        SELECT FROM billing.charge_receipts AS receipt
        WHERE hashtextextended(receipt.litellm_call_id, 0) = hashtextextended(unit.litellm_call_id, 0)
            AND receipt.litellm_call_id = unit.litellm_call_id
    )
    AND NOT EXISTS (
        SELECT FROM billing.charge_receipts AS receipt
        WHERE hashtextextended(receipt.response_id, 0) = hashtextextended(unit.response_id, 0)
            AND receipt.response_id = unit.response_id
    )
    AND NOT EXISTS (
        SELECT FROM billing.deferred_calls AS deferred
        WHERE deferred.litellm_call_id = unit.litellm_call_id
    )
    AND NOT EXISTS (
        SELECT FROM billing.deferred_calls AS deferred
        WHERE deferred.response_id = unit.response_id
    )
ORDER BY unit.finished_at, unit.unit_id
LIMIT %(limit)s
