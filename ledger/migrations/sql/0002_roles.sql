-- Least privilege. The consumer adds; it cannot change or delete what it added, except that it
-- resolves deferrals. Roles belong to the whole cluster, so they may exist already.

DO $$
DECLARE
    wanted text;
    -- From PostgreSQL 16 on, who creates a role may grant it, but may not yet act as it.
    act_as text := CASE
        WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['billing_consumer', 'billing_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN
                    NULL; -- another migration created it in the same moment
                WHEN insufficient_privilege THEN
                    RAISE insufficient_privilege USING
                        MESSAGE = format('role %I is missing and %I may not create roles',
                            wanted, current_user),
                        HINT = 'An administrator has to run, once: '
                            'CREATE ROLE billing_consumer NOLOGIN; '
                            'CREATE ROLE billing_reader NOLOGIN; '
                            || format('GRANT billing_consumer TO %I;', current_user);
            END;
        END IF;
        IF NOT pg_has_role(current_user, wanted, act_as) THEN
            BEGIN
                EXECUTE format('GRANT %I TO current_user', wanted);
            EXCEPTION WHEN insufficient_privilege THEN
                NULL; -- whoever made the role decides who acts as it; this user need not
            END;
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
