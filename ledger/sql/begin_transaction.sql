-- All of it ends with the transaction: behind a pooler, another client has the session next.
-- A member that freezes inside its transaction must not hold the keys of a batch that another member
-- has taken over; and whoever waits for such keys gives up in time to keep its place in the group.
SET LOCAL idle_in_transaction_session_timeout = '5s';
SET LOCAL lock_timeout = '10s';
SET LOCAL statement_timeout = '60s';
-- A receipt that is read back for its event must be the event that was lost, zone included.
SET LOCAL TIME ZONE 'UTC';
-- Every statement of a batch finds its rows by an index. A plan that was made while a table was
-- small must not go on reading the whole of it when it has grown.
SET LOCAL enable_seqscan = off;
-- What is committed has to outlive a crash of the server: then only may offsets move. Who waits for
-- a standby goes on waiting for it.
SELECT set_config('synchronous_commit', 'on', true)
WHERE current_setting('synchronous_commit') IN ('off', 'local');
