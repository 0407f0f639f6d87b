-- What an interrupted CREATE or DROP INDEX CONCURRENTLY has left.
SELECT class.relname
FROM pg_index
JOIN pg_class AS class ON class.oid = pg_index.indexrelid
WHERE class.relnamespace = 'billing'::regnamespace AND NOT pg_index.indisvalid
