-- Credits: who may spend how much, and every movement of it. New tables alone: no table that exists is
-- taken. Receipts know their batch since 0012. All amounts are whole credits, 10,000,000 = 1 USD.

CREATE TABLE billing.credit_accounts (
    billing_account_id text        PRIMARY KEY,
    kind               text        NOT NULL CHECK (kind IN ('prepaid', 'postpaid')),
    balance            bigint      NOT NULL DEFAULT 0,
    held               bigint      NOT NULL DEFAULT 0 CHECK (held >= 0),
    "limit"            bigint      CONSTRAINT limit_of_its_kind CHECK (
        CASE kind WHEN 'prepaid' THEN "limit" IS NOT NULL AND "limit" = 0 ELSE "limit" >= 0 OR "limit" IS NULL END
    ),
    opened_at          timestamptz NOT NULL DEFAULT now()
)
-- Each batch and each hold changes the row of its account: most of them within the page.
WITH (fillfactor = 50);

CREATE TABLE billing.credit_entries (
    id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    billing_account_id text        NOT NULL REFERENCES billing.credit_accounts,
    reason             text        NOT NULL CHECK (reason IN (
        'charge_receipt', 'correction', 'grant', 'widget_payment', 'onchain_deposit', 'refund', 'write_off'
    )),
    reference          text        NOT NULL,
    amount             bigint      NOT NULL CHECK (amount <> 0),
    balance            bigint      NOT NULL,
    batch              bigint,
    receipts           integer,
    person             text,
    note               text,
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT one_entry_per_reference UNIQUE (reason, reference),
    CONSTRAINT debit_of_a_batch CHECK (
        (reason = 'charge_receipt') = (batch IS NOT NULL AND receipts IS NOT NULL)
        AND (reason <> 'charge_receipt' OR (amount < 0 AND receipts > 0))
    )
);
CREATE INDEX credit_entries_account ON billing.credit_entries (billing_account_id, id);

CREATE TABLE billing.credit_limits (
    id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    billing_account_id text        NOT NULL REFERENCES billing.credit_accounts,
    kind               text        NOT NULL,
    "limit"            bigint,
    person             text        NOT NULL,
    note               text        NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX credit_limits_account ON billing.credit_limits (billing_account_id, id);

CREATE TABLE billing.credit_holds (
    id                 uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    billing_account_id text        NOT NULL REFERENCES billing.credit_accounts,
    litellm_call_id    text        NOT NULL,
    nonce              text        NOT NULL,
    amount             bigint      NOT NULL CHECK (amount >= 0),
    state              text        NOT NULL DEFAULT 'held'
        CHECK (state IN ('held', 'captured', 'released', 'expired')),
    run_id             text,
    attempt            integer,
    model              text,
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at         timestamptz NOT NULL,
    ended_at           timestamptz,
    charge_receipt_id  uuid,
    captured           bigint,
    CONSTRAINT one_hold_per_ask UNIQUE (billing_account_id, litellm_call_id, nonce),
    CONSTRAINT ended_when_not_held CHECK ((state = 'held') = (ended_at IS NULL)),
    CONSTRAINT captured_by_a_receipt CHECK (
        (state = 'captured') = (charge_receipt_id IS NOT NULL)
        AND (state = 'captured') = (captured IS NOT NULL)
    )
);
CREATE INDEX credit_holds_held ON billing.credit_holds (expires_at) WHERE state = 'held';
CREATE INDEX credit_holds_created ON billing.credit_holds USING brin (created_at) WITH (autosummarize = on);

CREATE TABLE billing.credit_events (
    id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id           uuid        NOT NULL DEFAULT gen_random_uuid(),
    type               text        NOT NULL
        CHECK (type IN ('threshold_crossed', 'exhausted', 'topped_up', 'hold_expired')),
    billing_account_id text        NOT NULL,
    kind               text        NOT NULL,
    balance            bigint      NOT NULL,
    held               bigint      NOT NULL,
    "limit"            bigint,
    threshold          bigint,
    amount             bigint,
    reason             text,
    litellm_call_id    text,
    run_id             text,
    attempt            integer,
    model              text,
    created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    sequence           bigint      UNIQUE
);

CREATE TABLE billing.credit_event_publisher (
    one           boolean     PRIMARY KEY DEFAULT true CHECK (one),
    holder        text        NOT NULL DEFAULT '',
    until         timestamptz NOT NULL DEFAULT now(),
    last_sequence bigint      NOT NULL DEFAULT 0
);
INSERT INTO billing.credit_event_publisher DEFAULT VALUES;

COMMENT ON TABLE billing.credit_accounts IS 'Who may spend how much: balance, what of it is held, and how far below zero it may go.';
COMMENT ON COLUMN billing.credit_accounts.balance IS 'The sum of the entries of the account, at every commit.';
COMMENT ON COLUMN billing.credit_accounts.held IS 'The sum of its open holds, at every commit.';
COMMENT ON COLUMN billing.credit_accounts."limit" IS 'How far below zero holds may take it; NULL: without end. Receipts are debited whatever it is.';
COMMENT ON TABLE billing.credit_entries IS 'Every movement of credits, signed. Append-only.';
COMMENT ON COLUMN billing.credit_entries.reference IS 'What moved it, once for each reason: batch and account of receipts, the idempotency key of a person.';
COMMENT ON COLUMN billing.credit_entries.balance IS 'Of the account, behind this entry.';
COMMENT ON COLUMN billing.credit_entries.batch IS 'The receipts with this credit_batch and this account: their charged_credits are the amount.';
COMMENT ON TABLE billing.credit_limits IS 'Who has said how an account pays, and when. Append-only.';
COMMENT ON TABLE billing.credit_holds IS 'Credits that a call may take, from before it is made until its receipt.';
COMMENT ON COLUMN billing.credit_holds.nonce IS 'Of the plugin: a client chooses the call id, and could meet another''s.';
COMMENT ON COLUMN billing.credit_holds.captured IS 'What the receipt charged; NULL unless there is one.';
COMMENT ON TABLE billing.credit_events IS 'What other teams are told of accounts, until it is published.';
COMMENT ON COLUMN billing.credit_events.sequence IS 'In which order it is published; NULL: not numbered yet.';
COMMENT ON TABLE billing.credit_event_publisher IS 'Which process publishes these events, and the last number that was given.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.credit_entries
FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.credit_limits
FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

-- Every movement, that of receipts one by one.
CREATE VIEW billing.credit_ledger AS
SELECT
    entry.id AS entry_id, entry.billing_account_id, entry.reason,
    coalesce(receipt.id::text, entry.reference) AS reference,
    coalesce(-receipt.charged_credits, entry.amount) AS amount,
    receipt.id AS charge_receipt_id, receipt.run_id, receipt.model, entry.person, entry.note,
    coalesce(receipt.occurred_at, entry.created_at) AS occurred_at, entry.created_at
FROM billing.credit_entries AS entry
LEFT JOIN billing.charge_receipts AS receipt
    ON receipt.credit_batch = entry.batch AND receipt.billing_account_id = entry.billing_account_id;

COMMENT ON VIEW billing.credit_ledger IS 'Every movement of credits; the debit of a batch as its receipts, which add up to it.';

-- As in 0013.
DO $$
DECLARE
    act_as text := CASE
        WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'billing_guard') THEN
        BEGIN
            CREATE ROLE billing_guard NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL; -- another migration created it in the same moment
            WHEN insufficient_privilege THEN
                RAISE insufficient_privilege USING
                    MESSAGE = format('role billing_guard is missing and %I may not create roles', current_user),
                    HINT = 'An administrator has to run, once: CREATE ROLE billing_guard NOLOGIN; '
                        || format('GRANT billing_guard TO %I;', current_user);
        END;
    END IF;
    IF NOT pg_has_role(current_user, 'billing_guard', act_as) THEN
        BEGIN
            GRANT billing_guard TO current_user;
        EXCEPTION WHEN insufficient_privilege THEN
            NULL; -- whoever made the role decides who acts as it; this user need not
        END;
    END IF;
END $$;

GRANT USAGE ON SCHEMA billing TO billing_guard;
GRANT SELECT ON billing.schema_migrations TO billing_guard;
GRANT SELECT ON
    billing.credit_accounts, billing.credit_entries, billing.credit_holds, billing.credit_ledger
TO billing_consumer, billing_reader, billing_reconciler, billing_guard;
GRANT SELECT ON billing.charge_receipts, billing.usage_units TO billing_guard;
GRANT INSERT, UPDATE ON billing.credit_accounts TO billing_consumer, billing_guard;
GRANT INSERT ON billing.credit_entries TO billing_consumer, billing_guard;
GRANT UPDATE (state, ended_at, expires_at, charge_receipt_id, captured) ON billing.credit_holds TO billing_consumer;
GRANT INSERT, UPDATE, DELETE ON billing.credit_holds TO billing_guard;
GRANT SELECT ON billing.credit_limits TO billing_reader;
GRANT INSERT ON billing.credit_limits TO billing_guard;
GRANT SELECT ON billing.credit_events, billing.credit_event_publisher TO billing_consumer, billing_reader;
GRANT INSERT ON billing.credit_events TO billing_consumer, billing_guard;
GRANT UPDATE (sequence), DELETE ON billing.credit_events TO billing_consumer;
GRANT UPDATE ON billing.credit_event_publisher TO billing_consumer;
