UPDATE billing.reconciler_findings
SET reposted_at = now(), tries = tries + 1
WHERE source_system = %(source)s
    AND request_id = ANY(ARRAY(SELECT json_array_elements_text(%(requests)s)))
