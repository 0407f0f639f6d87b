UPDATE billing.deferred_calls AS deferred
SET receipt_id = given.receipt_id
FROM unnest(%(numbers)s::bigint[], %(ids)s::uuid[]) AS given (id, receipt_id)
WHERE deferred.id = given.id AND deferred.receipt_id IS NULL
