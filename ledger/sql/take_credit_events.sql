-- One process publishes at a time, for as long as it comes back within the time. A time that ends later than
-- any that is given now is of a clock that has gone back.
WITH before AS (
    SELECT holder = %(holder)s AND until >= clock_timestamp() AS still
    FROM billing.credit_event_publisher
    FOR UPDATE
)

UPDATE billing.credit_event_publisher AS publisher
SET holder = %(holder)s, until = clock_timestamp() + make_interval(secs => %(seconds)s)
FROM before
WHERE publisher.holder = %(holder)s
    OR publisher.until < clock_timestamp()
    OR publisher.until > clock_timestamp() + make_interval(secs => %(seconds)s)
RETURNING before.still
