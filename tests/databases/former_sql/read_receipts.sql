-- Receipts as they stand in the ledger, for the event of one that was written before a crash.
SELECT receipt.*, details.*
FROM billing.charge_receipts AS receipt
JOIN billing.llm_charge_details AS details ON details.charge_receipt_id = receipt.id
WHERE receipt.id = ANY(%(ids)s)
