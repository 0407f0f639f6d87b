-- A member that freezes inside its transaction must not hold the keys of a batch that another member
-- has taken over; and whoever waits for such keys gives up in time to keep its place in the group.
SET idle_in_transaction_session_timeout = '5s';
SET lock_timeout = '10s';
SET statement_timeout = '60s';
-- A receipt that is read back for its event must be the event that was lost, zone included.
SET TIME ZONE 'UTC';
-- Every statement of a batch finds its rows by an index. A plan that was made while a table was
-- small must not go on reading the whole of it when it has grown.
SET enable_seqscan = off;
-- What is committed has to outlive a crash of the server: then only may offsets move. Who waits for
-- a standby goes on waiting for it.
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') IN ('off', 'local');
