-- In one statement. All of it ends with the transaction: behind a pooler, another client
-- has the session next. Whoever asks waits for its answer, so no wait here is long.
-- What is answered has to outlive a crash of the server: a number of an event, a hold.
SELECT
    set_config('role', %(role)s, true),
    set_config('idle_in_transaction_session_timeout', '5s', true),
    set_config('lock_timeout', %(lock_timeout)s, true),
    set_config('statement_timeout', '20s', true),
    set_config('TimeZone', 'UTC', true),
    CASE
        WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN set_config('synchronous_commit', 'on', true)
    END
