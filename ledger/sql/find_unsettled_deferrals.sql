-- The calls among these whose deferral is open or written off. Asked when the batch's receipts are
-- written, which close it, or reopen it: so it is told from what is resolved alone. Held until the
-- transaction ends, so that nobody waives one of them unseen. May name a call of another source with
-- the same key.
SELECT source_system, call_key, resolution
FROM billing.deferred_calls
WHERE source_system = ANY(%(sources)s)
    AND call_key = ANY(ARRAY(SELECT json_array_elements_text(%(keys)s)))
    AND billing.deferral_state(resolution) IN ('open', 'written_off')
ORDER BY id
FOR UPDATE
