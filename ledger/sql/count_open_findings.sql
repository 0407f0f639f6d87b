SELECT
    verdict, count(*), coalesce(sum(spend_usd), 0),
    coalesce(extract(epoch FROM now() - min(first_seen_at)), 0)::float8
FROM billing.reconciler_findings
WHERE source_system = %(source)s AND closed_at IS NULL
GROUP BY verdict
