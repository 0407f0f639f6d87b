-- One active reconciler a source: in a transaction that stays open and does nothing else, so that a
-- pooler cannot give its session to anybody else. It has no snapshot and holds no vacuum back.
SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL statement_timeout = '10s'
