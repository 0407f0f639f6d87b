-- Deferred calls that do not say yet which receipt would be theirs, some of them.
SELECT id, source_system, call_key
FROM billing.deferred_calls
WHERE receipt_id IS NULL AND id > %(after)s
ORDER BY id
LIMIT %(limit)s
