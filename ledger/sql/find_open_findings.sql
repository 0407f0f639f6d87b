SELECT request_id, call_key, reposted_at
FROM billing.reconciler_findings
WHERE source_system = %(source)s AND closed_at IS NULL AND verdict = 'missing'
    AND request_id > %(after)s
ORDER BY request_id
LIMIT %(limit)s
