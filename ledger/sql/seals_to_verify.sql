-- The seals of a kind, by the time of their transactions.
SELECT written_at, id, digest, entries, person
FROM billing.seals
WHERE kind = %(kind)s
ORDER BY written_at
