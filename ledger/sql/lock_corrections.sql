-- Whoever corrects a receipt waits for whoever does so already. The receipt itself is never locked.
SELECT pg_advisory_xact_lock(hashtextextended('billing.receipt_corrections/' || %(receipt)s::text, 0))
