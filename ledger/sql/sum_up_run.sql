-- What a run has cost, and its calls without a receipt, kept and told where it is not what was told last. By
-- whoever has locked the run. What is written later notes the run; as no writer of an earlier release does,
-- and a writer may have begun before the run was known, it is looked at some times more. Says whether the
-- credits are more than can be told.
WITH run AS (
    SELECT * FROM billing.completed_runs
    WHERE run_id = %(run)s
),

sums AS (
    SELECT
        count(*) FILTER (WHERE spend.cost_source <> 'correction') AS calls,
        count(*) FILTER (WHERE spend.cost_source = 'correction') AS corrections,
        coalesce(trim_scale(sum(spend.charged_usd)), 0) AS charged_usd,
        coalesce(sum(spend.charged_credits), 0) AS charged_credits
    FROM billing.spend AS spend
    WHERE spend.run_id = %(run)s AND NOT 'unattributed_run' = ANY(spend.marks)
),

calls AS (
    SELECT reason, litellm_call_id, response_id, model, occurred_at, id::text AS number
    FROM billing.open_deferrals
    WHERE run_id = %(run)s AND run_id <> call_key
    UNION ALL
    SELECT 'no_callback', litellm_call_id, response_id, model, finished_at, unit_id::text
    FROM billing.unmatched_units
    WHERE run_id = %(run)s
),

open AS (
    SELECT
        (SELECT count(*) FROM calls) AS open_calls,
        coalesce(
            jsonb_agg(
                jsonb_build_object(
                    'reason', named.reason, 'litellm_call_id', named.litellm_call_id,
                    'response_id', named.response_id, 'model', named.model
                ) ORDER BY named.occurred_at, named.number
            ),
            '[]'
        ) AS open
    FROM (SELECT * FROM calls ORDER BY occurred_at, number LIMIT %(named)s) AS named
),

made AS (
    INSERT INTO billing.run_totals (
        run_id, revision, completed_at, calls, corrections, charged_usd, charged_credits, open_calls, open
    )
    SELECT
        run.run_id, run.revision + 1, run.completed_at, sums.calls, sums.corrections, sums.charged_usd,
        sums.charged_credits, open.open_calls, open.open
    FROM run
    CROSS JOIN sums
    CROSS JOIN open
    LEFT JOIN billing.run_totals AS told ON told.run_id = run.run_id AND told.revision = run.revision
    WHERE sums.charged_credits BETWEEN -9223372036854775808 AND 9223372036854775807
        AND (
            told.completed_at, told.calls, told.corrections, told.charged_usd, told.charged_credits, told.open_calls,
            told.open
        ) IS DISTINCT FROM (
            run.completed_at, sums.calls, sums.corrections, sums.charged_usd, sums.charged_credits, open.open_calls,
            open.open
        )
    RETURNING id, revision
),

event AS (
    INSERT INTO billing.credit_events (type, run_total)
    SELECT 'run_settled', made.id FROM made
)

UPDATE billing.completed_runs AS told
SET
    revision = coalesce((SELECT made.revision FROM made), told.revision),
    due_at = (
        SELECT min(told.known_at + look.later)
        FROM (VALUES (interval '10 minutes'), (interval '1 hour'), (interval '1 day')) AS look (later)
        WHERE told.known_at + look.later > clock_timestamp()
    )
FROM run, sums
WHERE told.run_id = run.run_id
RETURNING sums.charged_credits NOT BETWEEN -9223372036854775808 AND 9223372036854775807
