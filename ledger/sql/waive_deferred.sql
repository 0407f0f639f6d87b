-- Nothing happens where it is open no longer.
UPDATE billing.open_deferrals
SET resolved_at = now(), resolution = %(resolution)s, resolved_by = %(by)s, resolution_note = %(note)s
WHERE id = %(id)s
