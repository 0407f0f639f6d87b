-- By the row's key in LiteLLM, or by the names of its call. Clients choose call ids: several may have one.
SELECT source_system, request_id, verdict, closed_at
FROM billing.reconciler_findings
WHERE %(name)s IN (request_id, litellm_call_id, call_key)
    AND (%(source)s = '' OR source_system = %(source)s)
ORDER BY closed_at IS NOT NULL, first_seen_at, source_system, request_id
LIMIT %(limit)s
