SELECT
    count(*),
    coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::double precision,
    (SELECT count(*) FROM billing.credit_accounts WHERE balance + "limit" < 0)
FROM billing.credit_holds
WHERE state = 'held'
