-- All of it ends with the transaction: behind a pooler, another client has the session next.
SET LOCAL idle_in_transaction_session_timeout = '60s';
SET LOCAL lock_timeout = '10s';
-- Usage units and receipts of a time have no index: what asks for them reads the table.
SET LOCAL statement_timeout = '10min';
SET LOCAL TIME ZONE 'UTC';
