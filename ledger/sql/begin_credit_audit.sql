-- All statements see one moment: a movement that is committed between two of them is no fault.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SET LOCAL idle_in_transaction_session_timeout = '60s';
SET LOCAL lock_timeout = '10s';
-- The receipts of all batches are read.
SET LOCAL statement_timeout = '30min';
