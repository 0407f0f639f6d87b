-- Its time is that of the transaction, unless the rows were written before.
WITH made AS (
    INSERT INTO billing.seals (kind, version, written_at, records, digest, entries, person)
    VALUES (
        %(kind)s, %(version)s, coalesce(%(written_at)s, now()), %(records)s, %(digest)s, %(entries)s, %(person)s
    )
    RETURNING id
)

INSERT INTO billing.sealed (seal_id)
SELECT id FROM made
