-- As lock_migrations, for what is migrated step by step: in a transaction that stays open beside the
-- steps and does nothing else. Nobody waits inside of it: an index is not finished before every
-- statement has ended that began before it, and whoever waits for this lock is one.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET LOCAL idle_in_transaction_session_timeout = 0;
SELECT pg_try_advisory_xact_lock(4815162343)
