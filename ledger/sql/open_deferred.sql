-- Deferrals that need a person and the age of the oldest in seconds: open ones, and those that a charge
-- has reopened. What waits for another callback is no matter for a person yet.
WITH found AS (
    SELECT deferred_at AS since FROM billing.open_deferrals WHERE NOT waiting
    UNION ALL
    SELECT resolved_at FROM billing.deferred_calls WHERE resolution = 'reopened'
)
SELECT
    count(*) AS open,
    coalesce(extract(epoch FROM now() - min(since)), 0)::float8 AS oldest_seconds
FROM found
