-- Open deferrals and the age of the oldest in seconds. A deferral whose receipt came through another
-- partition in the same moment counts as settled. What waits for another callback is no matter for a
-- person yet.
SELECT
    count(*) AS open,
    coalesce(extract(epoch FROM now() - min(deferred.deferred_at)), 0)::float8 AS oldest_seconds
FROM billing.deferred_calls AS deferred
WHERE deferred.resolved_at IS NULL
    AND deferred.reason NOT IN ('awaiting_result', 'awaiting_create')
    AND NOT EXISTS (
        SELECT FROM billing.charge_receipts AS receipt
        WHERE receipt.source_system = deferred.source_system
            AND receipt.call_key = deferred.call_key
    )
