-- What may still change what an account owes for a period: calls without a receipt, and callbacks
-- that contradict one and are not decided.
SELECT
    (
        SELECT count(*)
        FROM billing.open_deferrals AS deferred
        WHERE deferred.billing_account_id = %(account)s
            AND (coalesce(deferred.started_at, deferred.occurred_at) AT TIME ZONE 'UTC')::date
                >= %(first_day)s
            AND (coalesce(deferred.started_at, deferred.occurred_at) AT TIME ZONE 'UTC')::date
                < %(before_day)s
    ) AS "open deferrals",
    (
        SELECT count(*)
        FROM billing.receipt_conflicts AS conflict
        JOIN billing.charge_receipts AS receipt ON receipt.id = conflict.charge_receipt_id
        WHERE receipt.billing_account_id = %(account)s
            AND (coalesce(receipt.started_at, receipt.occurred_at) AT TIME ZONE 'UTC')::date
                >= %(first_day)s
            AND (coalesce(receipt.started_at, receipt.occurred_at) AT TIME ZONE 'UTC')::date
                < %(before_day)s
            AND NOT EXISTS (
                SELECT FROM billing.receipt_corrections AS correction
                WHERE correction.charge_receipt_id = receipt.id
                    AND correction.reason = 'conflict'
                    AND correction.created_at >= conflict.detected_at
            )
    ) AS conflicts
