-- What the reconciler remembers: up to when it has compared LiteLLM's spend log with the books, and which
-- of its rows it has found no answer to. New tables alone: no table that exists is taken.
CREATE TABLE billing.reconciler_cursors (
    source_system    text        PRIMARY KEY,
    reconciled_until timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE billing.reconciler_findings (
    source_system    text        NOT NULL,
    request_id       text        NOT NULL,
    litellm_call_id  text,
    call_key         text,
    verdict          text        NOT NULL CHECK (
        verdict IN ('missing', 'differs', 'unidentified', 'elsewhere', 'unreadable')
    ),
    reason           text,
    spend_usd        numeric     CONSTRAINT spend_usd_is_finite
        CHECK (spend_usd < 'Infinity' AND spend_usd > '-Infinity'),
    receipt_cost_usd numeric     CONSTRAINT receipt_cost_usd_is_finite
        CHECK (receipt_cost_usd < 'Infinity' AND receipt_cost_usd > '-Infinity'),
    started_at       timestamptz,
    end_user         text,
    first_seen_at    timestamptz NOT NULL DEFAULT now(),
    last_seen_at     timestamptz NOT NULL DEFAULT now(),
    reposted_at      timestamptz,
    tries            integer     NOT NULL DEFAULT 0 CHECK (tries >= 0),
    closed_at        timestamptz,
    closed_by        text,
    closed_note      text,
    CONSTRAINT one_finding_per_row PRIMARY KEY (source_system, request_id)
);
-- What is open is little, and asked for in every pass.
CREATE INDEX reconciler_findings_open
ON billing.reconciler_findings (source_system, verdict, request_id) WHERE closed_at IS NULL;

COMMENT ON TABLE billing.reconciler_cursors IS 'Up to when LiteLLM''s spend log is compared with the books.';
COMMENT ON TABLE billing.reconciler_findings IS 'Rows of the spend log that the books had no answer to, open and closed.';
COMMENT ON COLUMN billing.reconciler_findings.request_id IS 'The row''s primary key in LiteLLM.';
COMMENT ON COLUMN billing.reconciler_findings.started_at IS 'When the call began; NULL where the row cannot be read.';
COMMENT ON COLUMN billing.reconciler_findings.closed_by IS 'Who has closed it; NULL where the books have an answer.';
COMMENT ON COLUMN billing.reconciler_findings.reposted_at IS 'When the gateway last took the callback made of the row.';

-- As in 0002: roles belong to the whole cluster, so it may exist already.
DO $$
DECLARE
    act_as text := CASE
        WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'billing_reconciler') THEN
        BEGIN
            CREATE ROLE billing_reconciler NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL; -- another migration created it in the same moment
            WHEN insufficient_privilege THEN
                RAISE insufficient_privilege USING
                    MESSAGE = format('role billing_reconciler is missing and %I may not create roles', current_user),
                    HINT = 'An administrator has to run, once: CREATE ROLE billing_reconciler NOLOGIN; '
                        || format('GRANT billing_reconciler TO %I;', current_user);
        END;
    END IF;
    IF NOT pg_has_role(current_user, 'billing_reconciler', act_as) THEN
        BEGIN
            GRANT billing_reconciler TO current_user;
        EXCEPTION WHEN insufficient_privilege THEN
            NULL; -- whoever made the role decides who acts as it; this user need not
        END;
    END IF;
END $$;

GRANT USAGE ON SCHEMA billing TO billing_reconciler;
GRANT SELECT ON
    billing.schema_migrations,
    billing.charge_receipts,
    billing.detailed_receipts,
    billing.deferred_calls,
    billing.receipt_conflicts,
    billing.usage_units
TO billing_reconciler;
GRANT SELECT ON billing.reconciler_cursors, billing.reconciler_findings TO billing_reader;
GRANT SELECT, INSERT, UPDATE ON billing.reconciler_cursors, billing.reconciler_findings TO billing_reconciler;
