-- Last in its transaction or not: its time is that of the rows.
WITH made AS (
    INSERT INTO billing.seals (kind, version, records, digest, entries)
    VALUES (%(kind)s, %(version)s, %(records)s, %(digest)s, %(entries)s)
    RETURNING id
)

INSERT INTO billing.sealed (seal_id)
SELECT id FROM made
