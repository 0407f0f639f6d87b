SELECT request_id, call_key, reposted_at, verdict
FROM billing.reconciler_findings
WHERE source_system = %(source)s AND closed_at IS NULL AND verdict IN ('missing', 'priced')
    AND request_id > %(after)s
ORDER BY request_id
LIMIT %(limit)s
