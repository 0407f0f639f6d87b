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
    -- What an executor says it called and the books know nothing of.
    SELECT 'no_callback', unit.litellm_call_id, unit.response_id, unit.model, unit.finished_at, unit.unit_id::text
    FROM billing.usage_units AS unit
    WHERE unit.run_id = %(run)s
        AND NOT unit.run_completed
        AND (unit.billing_account_id IS NULL OR unit.litellm_call_id IS NOT NULL OR unit.response_id IS NOT NULL)
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
            SELECT FROM billing.deferred_calls AS deferred WHERE deferred.litellm_call_id = unit.litellm_call_id
        )
        AND NOT EXISTS (
            SELECT FROM billing.deferred_calls AS deferred WHERE deferred.response_id = unit.response_id
        )
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
