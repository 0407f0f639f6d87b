-- Nothing happens where it is open no longer.
UPDATE billing.reconciler_findings
SET closed_at = now(), closed_by = %(by)s, closed_note = %(note)s
WHERE source_system = %(source)s AND request_id = %(request)s AND closed_at IS NULL
