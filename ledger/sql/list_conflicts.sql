-- Callbacks that contradict their receipt, of which nobody has said since what is right.
SELECT
    conflict.id AS number, conflict.detected_at AS found, receipt.id AS receipt, receipt.litellm_call_id AS call,
    receipt.billing_account_id AS account, receipt.response_cost_usd AS cost_usd,
    receipt.charged_usd AS charged_usd, coalesce(latest.corrected_usd, receipt.charged_usd) AS now_usd,
    conflict.response_cost_usd AS other_cost_usd, conflict.billing_account_id AS other_account
FROM billing.receipt_conflicts AS conflict
INNER JOIN billing.charge_receipts AS receipt ON receipt.id = conflict.charge_receipt_id
LEFT JOIN LATERAL (
    SELECT corrected_usd
    FROM billing.receipt_corrections
    WHERE charge_receipt_id = receipt.id
    ORDER BY number DESC
    LIMIT 1
) AS latest ON true
WHERE NOT EXISTS (
        SELECT FROM billing.receipt_corrections AS correction
        WHERE correction.charge_receipt_id = receipt.id
            AND correction.reason = 'conflict'
            AND correction.created_at >= conflict.detected_at
    )
ORDER BY conflict.detected_at, conflict.id
LIMIT %(limit)s
