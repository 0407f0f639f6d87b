-- A consumer that is connected and does not know the migration: it says the newest that it knows, and
-- 0.2.0 says none. Everybody may see the name of an application.
SELECT pid, application_name, client_addr::text, backend_start
FROM pg_stat_activity
WHERE datname = current_database()
    AND application_name ~ '^billing-consumer(-[0-9]{4})?$'
    AND coalesce(substring(application_name FROM '[0-9]{4}$'), '') < %(revision)s
ORDER BY backend_start, pid
LIMIT 1
