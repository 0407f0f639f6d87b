DELETE FROM billing.credit_holds
WHERE id IN (
    SELECT id
    FROM billing.credit_holds
    WHERE state <> 'held' AND created_at < (SELECT clock_timestamp()) - make_interval(days => %(days)s)
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
