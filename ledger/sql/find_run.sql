-- How many receipts an attempt of a run has, when its last call ended, and when the last was written.
SELECT count(*), max(occurred_at), max(created_at)
FROM billing.charge_receipts
WHERE run_id = %(run)s AND attempt = %(attempt)s AND source_system = %(source)s
