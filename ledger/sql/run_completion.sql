-- Whether a run has ended, and what other teams were told last that it has cost.
SELECT
    run.completed_at AS completed, told.revision, told.created_at AS settled, told.calls,
    trim_scale(told.charged_usd) AS "charged USD", told.open_calls AS open
FROM billing.completed_runs AS run
LEFT JOIN billing.run_totals AS told ON told.run_id = run.run_id AND told.revision = run.revision
WHERE run.run_id = %(run)s
