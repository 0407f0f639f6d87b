-- Those of an account, of a correction, of a checkpoint and of a run, in this order, have nothing in each other's columns.
SELECT
    event.sequence, event.type, event.event_id, event.type, event.billing_account_id, event.kind, event.balance,
    event.held, event."limit", event.threshold, event.amount, event.reason, event.litellm_call_id,
    event.run_id, event.attempt, event.model, event.created_at,
    correction.id, correction.charge_receipt_id, correction.number, correction.reason, correction.reference,
    correction.amount_usd, correction.amount_credits, correction.corrected_usd, correction.corrected_credits,
    receipt.source_system, receipt.call_key, receipt.litellm_call_id, receipt.response_id, receipt.run_id,
    receipt.attempt, receipt.billing_account_id, receipt.team_id, receipt.model, correction.created_at,
    checkpoint.number, checkpoint.previous, checkpoint.hash, checkpoint.seals, checkpoint.records, checkpoint.made_at,
    run.id, run.run_id, run.revision, run.completed_at, run.calls, run.corrections, run.charged_usd,
    run.charged_credits, run.open_calls, run.open, run.created_at
FROM billing.credit_events AS event
LEFT JOIN billing.receipt_corrections AS correction ON correction.id = event.correction_id
LEFT JOIN billing.checkpoints AS checkpoint ON checkpoint.number = event.checkpoint
LEFT JOIN billing.detailed_receipts AS receipt ON receipt.id = correction.charge_receipt_id
LEFT JOIN billing.run_totals AS run ON run.id = event.run_total
WHERE event.sequence IS NOT NULL
ORDER BY event.sequence
LIMIT %(limit)s
