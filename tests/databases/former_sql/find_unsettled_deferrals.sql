-- It asked for open deferrals alone; which resolution these have goes without saying.
SELECT source_system, call_key, NULL
FROM billing.deferred_calls
WHERE source_system = ANY(%(sources)s)
    AND call_key = ANY(ARRAY(SELECT json_array_elements_text(%(keys)s)))
    AND resolved_at IS NULL
