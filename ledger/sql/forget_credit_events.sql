DELETE FROM billing.credit_events
WHERE sequence <= %(published)s
