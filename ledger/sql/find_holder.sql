-- Who has held a table of the ledger for longest: what a migration waits for, most probably.
SELECT activity.pid, activity.application_name, held.relation::regclass::text, activity.xact_start
FROM pg_locks AS held
JOIN pg_stat_activity AS activity ON activity.pid = held.pid
JOIN pg_class AS class ON class.oid = held.relation
WHERE held.granted
    AND held.locktype = 'relation'
    AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND class.relnamespace = to_regnamespace('billing')
    AND class.relkind IN ('r', 'v')
    AND activity.pid <> pg_backend_pid()
ORDER BY activity.xact_start NULLS LAST, activity.pid
LIMIT 1
