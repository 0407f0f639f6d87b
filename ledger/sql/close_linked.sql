-- Close what waited for another callback. What is settled already only learns its result.
UPDATE billing.deferred_calls AS deferred
SET
    resolved_at = coalesce(deferred.resolved_at, now()),
    resolution = coalesce(deferred.resolution, given.resolution),
    result_key = coalesce(deferred.result_key, given.result_key)
FROM unnest(%(sources)s::text[], %(keys)s::text[], %(resolutions)s::text[], %(results)s::text[])
    AS given (source_system, call_key, resolution, result_key)
WHERE (deferred.source_system, deferred.call_key) = (given.source_system, given.call_key)
