-- Least privilege. The consumer adds; it cannot change or delete what it added, except that it
-- resolves deferrals. Roles belong to the whole cluster, so they may exist already.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['billing_consumer', 'billing_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another migration created it in the same moment
            END;
        END IF;
        IF NOT pg_has_role(current_user, wanted, 'MEMBER') THEN
            EXECUTE format('GRANT %I TO current_user', wanted);
        END IF;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA billing TO billing_consumer, billing_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA billing TO billing_consumer, billing_reader;
GRANT INSERT ON
    billing.charge_receipts,
    billing.llm_charge_details,
    billing.deferred_calls,
    billing.receipt_conflicts,
    billing.usage_units
TO billing_consumer;
GRANT UPDATE (resolved_at, resolution) ON billing.deferred_calls TO billing_consumer;
