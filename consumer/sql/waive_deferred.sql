UPDATE billing.deferred_calls
SET resolved_at = now(), resolution = 'waived', resolved_by = %(by)s, resolution_note = %(note)s
WHERE id = %(id)s AND resolved_at IS NULL
