-- What executors say they called and the books know nothing of, of any source: a unit names none.
SELECT unit_id, run_id, attempt, litellm_call_id, response_id, executor, model, finished_at
FROM billing.unmatched_units
WHERE (%(start)s::timestamptz IS NULL OR finished_at >= %(start)s)
    AND (%(until)s::timestamptz IS NULL OR finished_at < %(until)s)
    AND (%(run)s::text IS NULL OR (run_id = %(run)s AND attempt = %(attempt)s))
ORDER BY finished_at, unit_id
LIMIT %(limit)s
