-- In one statement. All of it ends with the transaction: behind a pooler, another client
-- has the session next. Whoever asks waits for its answer, so no wait here is long.
SELECT
    set_config('role', %(role)s, true),
    set_config('idle_in_transaction_session_timeout', '5s', true),
    set_config('lock_timeout', '2s', true),
    set_config('statement_timeout', '20s', true),
    set_config('TimeZone', 'UTC', true)
