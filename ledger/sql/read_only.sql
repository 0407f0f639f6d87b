-- Whether this transaction may write: not on a standby, nor on a primary that was demoted.
SELECT current_setting('transaction_read_only')
