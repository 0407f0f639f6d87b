-- Holds of calls that are not charged: behind one that failed, a fallback's success may follow with the same
-- one, or nothing at all.
WITH taken AS MATERIALIZED (
    SELECT hold.id
    FROM billing.credit_holds AS hold
    WHERE hold.id = ANY(ARRAY(SELECT json_array_elements_text(%(holds)s)::uuid)) AND hold.state = 'held'
    ORDER BY hold.id
    FOR NO KEY UPDATE
)

UPDATE billing.credit_holds AS hold
SET expires_at = least(hold.expires_at, clock_timestamp() + make_interval(secs => %(seconds)s))
FROM taken
WHERE hold.id = taken.id
