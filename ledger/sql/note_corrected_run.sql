-- Whoever was told what the run of a corrected receipt has cost is told anew.
UPDATE billing.completed_runs AS run
SET due_at = clock_timestamp()
FROM billing.charge_receipts AS receipt
WHERE receipt.id = %(receipt)s AND run.run_id = receipt.run_id AND run.revision > 0
