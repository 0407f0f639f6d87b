SELECT request_id, reposted_at, closed_at
FROM billing.reconciler_findings
WHERE source_system = %(source)s
    AND request_id = ANY(ARRAY(SELECT json_array_elements_text(%(requests)s)))
