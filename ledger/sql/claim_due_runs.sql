-- Runs whose cost is to be looked at now: those that have just ended when their last callbacks had time to
-- come. Whoever takes them has a minute; those that are not done by then are due again.
UPDATE billing.completed_runs AS run
SET due_at = clock_timestamp() + interval '1 minute'
FROM (
    SELECT run_id
    FROM billing.completed_runs
    WHERE due_at <= clock_timestamp()
        AND (due_at <> known_at OR known_at <= clock_timestamp() - make_interval(secs => %(grace)s))
    ORDER BY due_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
) AS due
WHERE run.run_id = due.run_id
RETURNING run.run_id
