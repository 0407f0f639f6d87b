-- By whoever has locked the row of the publisher. Ids run in the order in which each account moved, but those
-- of two accounts may be seen in another order: numbers are given to what is seen. What Kafka knows to be
-- published counts where this ledger is behind it.
WITH numbered AS (
    SELECT
        event.id,
        greatest(publisher.last_sequence, %(published)s) + row_number() OVER (ORDER BY event.id) AS number
    FROM billing.credit_events AS event
    CROSS JOIN billing.credit_event_publisher AS publisher
    WHERE event.sequence IS NULL
    ORDER BY event.id
    LIMIT %(limit)s
),

given AS (
    UPDATE billing.credit_events AS event
    SET sequence = numbered.number
    FROM numbered
    WHERE event.id = numbered.id
    RETURNING event.sequence
)

UPDATE billing.credit_event_publisher
SET last_sequence = greatest(last_sequence, %(published)s, (SELECT max(sequence) FROM given))
