-- A cost that came after all settles the deferral of the same call.
UPDATE billing.deferred_calls AS deferred
SET
    resolved_at = now(),
    resolution = incoming.resolution,
    resolved_by = incoming.resolved_by,
    resolution_note = incoming.resolution_note
FROM incoming_receipts AS incoming
WHERE deferred.source_system = incoming.source_system
    AND deferred.call_key = incoming.call_key
    AND deferred.resolved_at IS NULL
