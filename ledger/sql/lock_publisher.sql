SELECT 1 FROM billing.credit_event_publisher FOR UPDATE
