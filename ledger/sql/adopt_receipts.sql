WITH made AS (
    INSERT INTO billing.seals (kind, version, written_at, records, digest, entries, person)
    VALUES ('receipts', %(version)s, %(written_at)s, %(records)s, %(digest)s, %(entries)s, %(person)s)
    RETURNING id
)

INSERT INTO billing.sealed (seal_id)
SELECT id FROM made
