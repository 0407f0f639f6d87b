-- What waits for another callback of its response, and the age of the oldest in seconds. The receipt of
-- a result does not stand under the key of its create: what is resolved tells, not open_deferrals.
SELECT
    count(*) AS waiting,
    coalesce(extract(epoch FROM now() - min(deferred_at)), 0)::float8 AS oldest_seconds
FROM billing.deferred_calls
WHERE resolved_at IS NULL
    AND reason IN ('awaiting_result', 'awaiting_create')
