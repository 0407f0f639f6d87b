-- Until the transaction ends, whoever else migrates this schema waits here, and whoever wants to
-- must take the same number, which is otherwise any. Not the session's lock: behind a pooler that
-- hands out transactions, another client would keep it.
SELECT pg_advisory_xact_lock(4815162342)
