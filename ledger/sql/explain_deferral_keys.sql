-- The keys of deferred calls by an id of theirs. Before migration 0011 no index has these: then the
-- table is read, within a time that the caller sets.
SELECT call_key
FROM billing.deferred_calls
WHERE litellm_call_id = %(name)s OR response_id = %(name)s
LIMIT %(limit)s
