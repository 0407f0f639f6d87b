-- Which of these calls, settled by hand, are about a background response.
SELECT source_system, call_key, link
FROM billing.deferred_calls
WHERE call_key = ANY(%(keys)s) AND link IS NOT NULL
