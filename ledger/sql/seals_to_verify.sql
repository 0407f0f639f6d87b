-- The seals of receipts, by the time of their transactions.
SELECT written_at, id, digest, entries, person
FROM billing.seals
WHERE kind = 'receipts'
ORDER BY written_at
