-- Whoever waits for an exclusive lock keeps everybody else waiting.
SET LOCAL lock_timeout = '2s'
