-- What a row was found to be. One that a person has closed stays closed while nothing else is found.
INSERT INTO billing.reconciler_findings AS known (
    source_system, request_id, litellm_call_id, call_key, verdict, reason, spend_usd, receipt_cost_usd,
    started_at, end_user
)
SELECT
    %(source)s, request_id, litellm_call_id, call_key, verdict, reason, spend_usd, receipt_cost_usd,
    started_at, end_user
FROM json_to_recordset(%(findings)s) AS found (
    request_id text, litellm_call_id text, call_key text, verdict text, reason text, spend_usd numeric,
    receipt_cost_usd numeric, started_at timestamptz, end_user text
)
ORDER BY request_id
ON CONFLICT (source_system, request_id) DO UPDATE
SET verdict = excluded.verdict,
    reason = excluded.reason,
    call_key = excluded.call_key,
    spend_usd = excluded.spend_usd,
    receipt_cost_usd = excluded.receipt_cost_usd,
    last_seen_at = now(),
    closed_at = CASE WHEN known.verdict = excluded.verdict THEN known.closed_at END,
    closed_by = CASE WHEN known.verdict = excluded.verdict THEN known.closed_by END,
    closed_note = CASE WHEN known.verdict = excluded.verdict THEN known.closed_note END
RETURNING request_id, reposted_at, closed_at
