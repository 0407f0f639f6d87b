-- All of it ends with the transaction: behind a pooler, another client has the session next.
-- Calls wait for the row of an account: nobody keeps it for long.
SET LOCAL idle_in_transaction_session_timeout = '10s';
SET LOCAL lock_timeout = '10s';
SET LOCAL statement_timeout = '60s';
SET LOCAL TIME ZONE 'UTC';
-- What is told to be posted has to outlive a crash of the server.
SELECT set_config('synchronous_commit', 'on', true)
WHERE current_setting('synchronous_commit') IN ('off', 'local');
