-- Behind it, nothing that changes the cost of the run is being written.
SELECT FROM billing.completed_runs
WHERE run_id = %(run)s
FOR UPDATE
