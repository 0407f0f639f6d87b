-- Calls of LiteLLM's spend log that the reconciler has found no answer to, by the day on which they
-- began. A finding keeps no model.
SELECT
    (started_at AT TIME ZONE 'UTC')::date AS day,
    count(*) AS calls,
    trim_scale(sum(coalesce(spend_usd, 0))) AS cost_usd
FROM billing.reconciler_findings
WHERE closed_at IS NULL
    AND verdict IN ('missing', 'unidentified')
    AND started_at >= %(first)s::date::timestamp AT TIME ZONE 'UTC'
    AND started_at < (%(last)s::date + 1)::timestamp AT TIME ZONE 'UTC'
GROUP BY 1
ORDER BY 1
