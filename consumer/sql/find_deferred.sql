SELECT *
FROM billing.deferred_calls
WHERE %(name)s IN (id::text, call_key, litellm_call_id, response_id)
ORDER BY id
