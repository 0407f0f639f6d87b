UPDATE billing.deferred_calls AS deferred
SET resolved_at = now(), resolution = 'waived', resolved_by = %(by)s, resolution_note = %(note)s
WHERE deferred.id = %(id)s
    AND deferred.resolved_at IS NULL
    AND NOT EXISTS (
        SELECT FROM billing.charge_receipts AS receipt
        WHERE receipt.source_system = deferred.source_system
            AND receipt.call_key = deferred.call_key
    )
