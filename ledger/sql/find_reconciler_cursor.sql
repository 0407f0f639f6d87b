SELECT reconciled_until FROM billing.reconciler_cursors WHERE source_system = %(source)s
