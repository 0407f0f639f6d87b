-- An executor says that a run has ended. Said again, as by a further attempt, the later end counts, and what
-- is on its way then has its time once more.
INSERT INTO billing.completed_runs (run_id, completed_at, known_at, due_at)
SELECT %(run_id)s, %(finished_at)s, clock.now, clock.now
FROM clock_timestamp() AS clock (now)
ON CONFLICT (run_id) DO UPDATE
SET
    completed_at = greatest(completed_runs.completed_at, excluded.completed_at),
    known_at = excluded.known_at,
    due_at = excluded.due_at
