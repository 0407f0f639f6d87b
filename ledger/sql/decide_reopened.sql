-- Nothing happens where somebody was faster.
UPDATE billing.deferred_calls
SET resolved_at = now(), resolution = %(resolution)s, resolved_by = %(by)s, resolution_note = %(note)s
WHERE id = %(id)s AND resolution = 'reopened'
