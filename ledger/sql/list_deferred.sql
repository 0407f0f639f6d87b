-- What was sent as a cost may be any text, so only amounts and short words are shown whole.
-- A deferral whose receipt came through another partition in the same moment counts as settled.
SELECT
    deferred.id, deferred.deferred_at AS deferred, now() - deferred.deferred_at AS age,
    deferred.reason, deferred.model, deferred.provider,
    CASE WHEN deferred.run_id <> deferred.call_key THEN deferred.run_id END AS run,
    deferred.tokens_in AS "tokens in", deferred.tokens_out AS "tokens out",
    deferred.suggested_cost_usd AS "suggested USD",
    CASE
        WHEN length(deferred.sent_cost) <= 12 OR deferred.sent_cost ~ '^[-+0-9.,eE$" ]{1,40}$'
            THEN deferred.sent_cost
        ELSE left(deferred.sent_cost, 8) || '…'
    END AS "sent as",
    coalesce(deferred.resolution, billing.resolution_of(receipt.cost_source)) AS resolution,
    deferred.resolved_by AS "by", deferred.resolution_note AS note
FROM billing.deferred_calls AS deferred
LEFT JOIN billing.charge_receipts AS receipt ON receipt.id = deferred.receipt_id
LEFT JOIN billing.open_deferrals AS open ON open.id = deferred.id
-- What waits for another callback of its response is no matter for a person before a day.
WHERE %(settled)s OR deferred.resolution = 'reopened' OR (
    open.id IS NOT NULL
    AND (
        %(waiting)s
        OR NOT open.waiting
        OR open.deferred_at < now() - interval '1 day'
    )
)
ORDER BY deferred.deferred_at, deferred.id
LIMIT %(limit)s
