-- Receipts as they stand in the ledger, for the event of one that was written before a crash.
SELECT * FROM billing.detailed_receipts WHERE id = ANY(%(ids)s)
