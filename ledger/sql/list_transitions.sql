-- What became of a deferral, step by step.
SELECT
    moved_at AS at, from_state AS "from", to_state AS "to", resolution, person AS "by", note, application
FROM billing.deferral_transitions
WHERE deferral_id = %(id)s
ORDER BY id
LIMIT %(limit)s
