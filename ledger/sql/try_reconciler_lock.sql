SELECT pg_try_advisory_xact_lock(hashtextextended('billing.reconciler/' || %(source)s, 0))
