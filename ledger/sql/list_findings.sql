-- What the books had no answer to, the oldest first.
SELECT
    source_system AS source, request_id AS "row", verdict, reason, litellm_call_id AS "call",
    started_at AS began, first_seen_at AS found, spend_usd AS "log USD", receipt_cost_usd AS "receipt USD",
    reposted_at AS posted, tries, closed_at AS closed, closed_by AS "by", closed_note AS note
FROM billing.reconciler_findings
WHERE (%(closed)s OR closed_at IS NULL)
    AND (%(verdicts)s::text[] IS NULL OR verdict = ANY(%(verdicts)s))
ORDER BY first_seen_at, source_system, request_id
LIMIT %(limit)s
