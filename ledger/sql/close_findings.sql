-- The books have an answer to these rows now.
UPDATE billing.reconciler_findings AS finding
SET closed_at = now(), receipt_cost_usd = answered.cost
FROM json_to_recordset(%(answered)s) AS answered (request_id text, cost numeric)
WHERE finding.source_system = %(source)s
    AND finding.request_id = answered.request_id
    AND finding.closed_at IS NULL
