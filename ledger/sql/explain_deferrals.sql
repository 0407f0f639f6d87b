-- Deferred calls, open and closed, by their key or run, which have indexes.
SELECT
    deferred.id, deferred.source_system, deferred.call_key, deferred.litellm_call_id,
    deferred.response_id, deferred.reason, deferred.suggested_cost_usd, deferred.run_id,
    deferred.model, deferred.provider, deferred.tokens_in, deferred.tokens_out,
    deferred.occurred_at, deferred.deferred_at, deferred.resolved_at, deferred.resolution,
    deferred.resolved_by, deferred.resolution_note, deferred.result_key,
    deferred.kafka_topic, deferred.kafka_partition, deferred.kafka_offset
FROM billing.deferred_calls AS deferred
WHERE deferred.run_id = %(name)s
    OR (deferred.source_system = ANY(%(sources)s) AND deferred.call_key = ANY(%(keys)s))
ORDER BY deferred.deferred_at, deferred.id
LIMIT %(limit)s
