-- A link of the chain: over the seals that are in no checkpoint yet, no more than are asked for, and other
-- teams are told. By whoever has locked the row of the publisher. Nothing where nothing waits, or where the
-- last one was made a moment ago.
WITH last AS (
    SELECT
        coalesce(max(number), 0) AS number,
        coalesce(
            (SELECT hash FROM billing.checkpoints ORDER BY number DESC LIMIT 1), decode(repeat('00', 32), 'hex')
        ) AS hash
    FROM billing.checkpoints
),

waiting AS (
    SELECT seal.*
    FROM billing.sealed AS place
    JOIN billing.seals AS seal ON seal.id = place.seal_id
    WHERE place.checkpoint IS NULL
        AND NOT EXISTS (
            SELECT 1 FROM billing.checkpoints
            WHERE made_at > clock_timestamp() - make_interval(secs => %(seconds)s)
        )
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
    RETURNING number
),

placed AS (
    UPDATE billing.sealed AS place
    SET checkpoint = made.number
    FROM made, waiting
    WHERE place.seal_id = waiting.id
)

INSERT INTO billing.credit_events (type, checkpoint)
SELECT 'checkpoint', number FROM made
