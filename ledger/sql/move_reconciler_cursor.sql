-- Never back: an instance that lost its lock may be behind another.
INSERT INTO billing.reconciler_cursors AS known (source_system, reconciled_until)
VALUES (%(source)s, %(until)s)
ON CONFLICT (source_system) DO UPDATE
SET reconciled_until = greatest(known.reconciled_until, excluded.reconciled_until), updated_at = now()
