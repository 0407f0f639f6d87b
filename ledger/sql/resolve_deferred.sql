-- A cost that came after all settles the deferral of the same call, or reopens it: then who had written
-- it off stays until a person decides. Nothing happens where somebody was faster.
UPDATE billing.deferred_calls AS deferred
SET
    resolved_at = now(),
    resolution = given.resolution,
    resolved_by = CASE WHEN given.former IS NULL THEN given.resolved_by ELSE deferred.resolved_by END,
    resolution_note = CASE
        WHEN given.former IS NULL THEN given.resolution_note
        ELSE deferred.resolution_note
    END
FROM unnest(
    %(sources)s::text[], %(keys)s::text[], %(former)s::text[], %(resolutions)s::text[],
    %(by)s::text[], %(notes)s::text[]
) AS given (source_system, call_key, former, resolution, resolved_by, resolution_note)
WHERE (deferred.source_system, deferred.call_key) = (given.source_system, given.call_key)
    AND deferred.resolution IS NOT DISTINCT FROM given.former
