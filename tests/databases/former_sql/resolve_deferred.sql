-- A cost that came after all settles the deferral of the same call.
UPDATE billing.deferred_calls AS deferred
SET
    resolved_at = now(),
    resolution = given.resolution,
    resolved_by = given.resolved_by,
    resolution_note = given.resolution_note
FROM unnest(
    %(sources)s::text[], %(keys)s::text[], %(resolutions)s::text[], %(by)s::text[], %(notes)s::text[]
) AS given (source_system, call_key, resolution, resolved_by, resolution_note)
WHERE (deferred.source_system, deferred.call_key) = (given.source_system, given.call_key)
    AND deferred.resolved_at IS NULL
