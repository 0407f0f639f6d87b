UPDATE billing.credit_event_publisher
SET until = clock_timestamp()
WHERE holder = %(holder)s
