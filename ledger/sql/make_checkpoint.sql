-- A link of the chain: over the seals that are in no checkpoint yet, no more than are asked for. One at a
-- time, by whoever holds the lock. Nothing where nothing waits.
WITH last AS (
    SELECT
        coalesce(max(number), 0) AS number,
        coalesce((SELECT hash FROM billing.checkpoints ORDER BY number DESC LIMIT 1), decode(repeat('00', 32), 'hex')) AS hash
    FROM billing.checkpoints
),

waiting AS (
    SELECT seal.*
    FROM billing.sealed AS place
    JOIN billing.seals AS seal ON seal.id = place.seal_id
    WHERE place.checkpoint IS NULL
    ORDER BY seal.id
    LIMIT %(limit)s
),

made AS (
    INSERT INTO billing.checkpoints (number, previous, hash, seals, records)
    SELECT
        last.number + 1, last.hash,
        sha256(last.hash || int8send(last.number + 1) || link.seals),
        link.count, link.records
    FROM last
    CROSS JOIN (
        SELECT
            string_agg(
                int8send(id) || int2send(version) || int8send((extract(epoch FROM written_at) * 1000000)::bigint)
                || int4send(records) || convert_to(kind, 'UTF8') || digest || sha256(entries),
                ''::bytea ORDER BY id
            ) AS seals,
            count(*) AS count, sum(records) AS records
        FROM waiting
    ) AS link
    WHERE link.count > 0
    RETURNING number, previous, hash, seals, records, made_at
),

placed AS (
    UPDATE billing.sealed AS place
    SET checkpoint = made.number
    FROM made, waiting
    WHERE place.seal_id = waiting.id
)

SELECT number, previous, hash, seals, records, made_at FROM made
