-- Open deferrals and the age of the oldest in seconds. What waits for another callback is no matter for
-- a person yet.
SELECT
    count(*) AS open,
    coalesce(extract(epoch FROM now() - min(deferred_at)), 0)::float8 AS oldest_seconds
FROM billing.open_deferrals
WHERE NOT waiting
