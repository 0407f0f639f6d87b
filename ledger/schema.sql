-- The whole schema as it is after all migrations, for reading: `python -m ledger.schema` writes it
-- from a migrated database, and a test holds it equal. Databases are made by
-- `billing migrate`.
-- The roles billing_consumer, billing_guard, billing_reader and billing_reconciler belong to the
-- server.

CREATE SCHEMA billing;

CREATE OR REPLACE FUNCTION billing.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION 'billing.% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation',
              HINT = 'Write a correcting entry instead.';
END $function$;

CREATE OR REPLACE FUNCTION billing.keep_former_details()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO billing.former_charge_details (
        charge_receipt_id, provider_call_id, model, provider_model, provider, call_type, stream,
        tokens_in, tokens_out, tokens_cached_in, tokens_reasoning, latency_ms, ttft_ms, graph_id,
        sub_agent_id, parent_sub_agent_id, tool_call_id, tags, saved_cache_cost
    )
    VALUES (
        NEW.charge_receipt_id, NEW.provider_call_id, NEW.model, NEW.provider_model, NEW.provider,
        NEW.call_type, NEW.stream, NEW.tokens_in, NEW.tokens_out, NEW.tokens_cached_in,
        NEW.tokens_reasoning, NEW.latency_ms, NEW.ttft_ms, NEW.graph_id, NEW.sub_agent_id,
        NEW.parent_sub_agent_id, NEW.tool_call_id, NEW.tags, NEW.saved_cache_cost
    );
    RETURN NEW;
END $function$;

CREATE OR REPLACE FUNCTION billing.record_transitions()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO billing.deferral_transitions (
            deferral_id, source_system, call_key, from_state, to_state, resolution, person, note,
            application
        )
        SELECT
            moved.id, moved.source_system, moved.call_key, billing.deferral_state(NULL),
            billing.deferral_state(moved.resolution), moved.resolution, moved.resolved_by,
            moved.resolution_note, current_setting('application_name')
        FROM moved
        WHERE moved.resolution IS NOT NULL;
    ELSE
        INSERT INTO billing.deferral_transitions (
            deferral_id, source_system, call_key, from_state, to_state, resolution, person, note,
            application
        )
        SELECT
            moved.id, moved.source_system, moved.call_key, billing.deferral_state(former.resolution),
            billing.deferral_state(moved.resolution), moved.resolution,
            CASE WHEN moved.resolution = 'reopened' THEN NULL ELSE moved.resolved_by END,
            CASE
                WHEN moved.resolution = 'reopened' THEN 'was ' || former.resolution
                    || coalesce(' by ' || former.resolved_by, '')
                    || coalesce(': ' || former.resolution_note, '')
                ELSE moved.resolution_note
            END,
            current_setting('application_name')
        FROM moved
        JOIN former USING (id)
        WHERE moved.resolution IS DISTINCT FROM former.resolution;
    END IF;
    RETURN NULL;
END $function$;

CREATE OR REPLACE FUNCTION billing.note_changed_runs()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
    ids text[];
BEGIN
    SELECT array_agg(DISTINCT changed.run_id) INTO ids FROM changed;
    PERFORM FROM billing.completed_runs AS run
    WHERE run.run_id = ANY(ids)
    ORDER BY run.run_id COLLATE "C"
    FOR UPDATE;
    IF FOUND THEN
        -- What comes together is told together. A run that was not told of yet has its time.
        UPDATE billing.completed_runs AS run
        SET due_at = clock_timestamp() + interval '5 seconds'
        WHERE run.run_id = ANY(ids)
            AND run.revision > 0
            AND (run.due_at IS NULL OR run.due_at > clock_timestamp() + interval '5 seconds');
    END IF;
    RETURN NULL;
END $function$;

CREATE TABLE billing.schema_migrations (
    version_num character varying(32) NOT NULL,
    CONSTRAINT schema_migrations_pkc PRIMARY KEY (version_num)
);

CREATE TABLE billing.charge_receipts (
    id uuid NOT NULL,
    source_system text NOT NULL,
    call_key text NOT NULL,
    litellm_call_id text,
    response_id text NOT NULL,
    source_reference text NOT NULL,
    run_id text NOT NULL,
    attempt integer NOT NULL,
    billing_account_id text NOT NULL,
    response_cost_usd numeric NOT NULL,
    charged_usd numeric NOT NULL,
    charged_credits bigint NOT NULL,
    cost_source text NOT NULL,
    charge_reason text NOT NULL,
    marks text[] NOT NULL DEFAULT '{}'::text[],
    content_hash text NOT NULL,
    kafka_topic text NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    tokens_in bigint,
    tokens_out bigint,
    tokens_cached_in bigint,
    tokens_reasoning bigint,
    latency_ms integer,
    ttft_ms integer,
    stream boolean,
    provider_call_id text,
    model text,
    provider_model text,
    provider text,
    call_type text,
    graph_id text,
    sub_agent_id text,
    parent_sub_agent_id text,
    tool_call_id text,
    tags text[],
    saved_cache_cost numeric,
    started_at timestamp with time zone,
    team_id text,
    team_alias text,
    key_alias text,
    key_hash text,
    user_id text,
    organization_id text,
    credit_batch bigint,
    CONSTRAINT charge_receipts_pkey PRIMARY KEY (id),
    CONSTRAINT charge_receipts_attempt_check CHECK (attempt >= 0),
    CONSTRAINT charge_receipts_charge_reason_check CHECK (charge_reason = ANY (ARRAY['usage'::text, 'partial'::text, 'cache_hit'::text, 'free_model'::text, 'health_probe'::text, 'silent_experiment'::text])),
    CONSTRAINT charge_receipts_charged_credits_check CHECK (charged_credits >= 0),
    CONSTRAINT charge_receipts_charged_usd_check CHECK (charged_usd >= 0::numeric),
    CONSTRAINT charge_receipts_response_cost_usd_check CHECK (response_cost_usd >= 0::numeric),
    CONSTRAINT charged_usd_is_finite CHECK (charged_usd < 'Infinity'::numeric AND charged_usd > '-Infinity'::numeric),
    CONSTRAINT response_cost_usd_is_finite CHECK (response_cost_usd < 'Infinity'::numeric AND response_cost_usd > '-Infinity'::numeric),
    CONSTRAINT saved_cache_cost_is_finite CHECK (saved_cache_cost < 'Infinity'::numeric AND saved_cache_cost > '-Infinity'::numeric),
    CONSTRAINT zero_has_a_reason CHECK (response_cost_usd > 0::numeric OR (charge_reason <> ALL (ARRAY['usage'::text, 'partial'::text])))
);
CREATE INDEX charge_receipts_account_day ON billing.charge_receipts USING btree (hashtextextended(billing_account_id, 0::bigint), ((COALESCE(started_at, occurred_at) AT TIME ZONE 'UTC'::text)::date));
CREATE INDEX charge_receipts_credit_batch ON billing.charge_receipts USING brin (credit_batch) WITH (pages_per_range='32', autosummarize='on');
CREATE INDEX charge_receipts_days ON billing.charge_receipts USING brin (((COALESCE(started_at, occurred_at) AT TIME ZONE 'UTC'::text)::date), occurred_at) WITH (autosummarize='on');
CREATE INDEX charge_receipts_litellm_call_hash ON billing.charge_receipts USING btree (hashtextextended(litellm_call_id, 0::bigint));
CREATE INDEX charge_receipts_other_sources ON billing.charge_receipts USING btree (source_system) WHERE source_system <> 'litellm'::text;
CREATE INDEX charge_receipts_response_hash ON billing.charge_receipts USING btree (hashtextextended(response_id, 0::bigint));
CREATE INDEX charge_receipts_run_id ON billing.charge_receipts USING btree (run_id);
CREATE INDEX charge_receipts_team_day ON billing.charge_receipts USING btree (hashtextextended(team_id, 0::bigint), ((COALESCE(started_at, occurred_at) AT TIME ZONE 'UTC'::text)::date)) WHERE team_id IS NOT NULL;
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.charge_receipts FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER note_changed_runs AFTER INSERT ON billing.charge_receipts REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION billing.note_changed_runs();
COMMENT ON TABLE billing.charge_receipts IS 'This call was charged this much. Append-only.';
COMMENT ON COLUMN billing.charge_receipts.response_cost_usd IS 'LiteLLM''s figure, untouched.';
COMMENT ON COLUMN billing.charge_receipts.charged_credits IS 'charged_usd times 10,000,000, rounded up once.';
COMMENT ON COLUMN billing.charge_receipts.kafka_offset IS 'With topic and partition: the record that it was written from.';
COMMENT ON COLUMN billing.charge_receipts.stream IS 'NULL where the details stand in former_charge_details.';
COMMENT ON COLUMN billing.charge_receipts.started_at IS 'When the call began; occurred_at is its end. NULL where nothing said it, and in receipts from before 0012.';
COMMENT ON COLUMN billing.charge_receipts.key_hash IS 'LiteLLM''s hash of the key that called, never the key.';
COMMENT ON COLUMN billing.charge_receipts.credit_batch IS 'With which debit of its account it was charged; NULL where there is none.';

CREATE TABLE billing.former_charge_details (
    charge_receipt_id uuid NOT NULL,
    provider_call_id text,
    model text,
    provider_model text,
    provider text,
    call_type text,
    stream boolean NOT NULL,
    tokens_in bigint,
    tokens_out bigint,
    tokens_cached_in bigint,
    tokens_reasoning bigint,
    latency_ms integer,
    ttft_ms integer,
    graph_id text,
    sub_agent_id text,
    parent_sub_agent_id text,
    tool_call_id text,
    tags text[] NOT NULL DEFAULT '{}'::text[],
    saved_cache_cost numeric,
    CONSTRAINT former_charge_details_pkey PRIMARY KEY (charge_receipt_id),
    CONSTRAINT saved_cache_cost_is_finite CHECK (saved_cache_cost < 'Infinity'::numeric AND saved_cache_cost > '-Infinity'::numeric)
);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.former_charge_details FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
COMMENT ON TABLE billing.former_charge_details IS 'Details of receipts from before 0010, a row each. Append-only.';

CREATE TABLE billing.deferred_calls (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    source_system text NOT NULL,
    call_key text NOT NULL,
    litellm_call_id text,
    response_id text NOT NULL,
    reason text NOT NULL,
    suggested_cost_usd numeric,
    run_id text NOT NULL,
    model text,
    provider text,
    tokens_in bigint,
    tokens_out bigint,
    kafka_topic text NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    deferred_at timestamp with time zone NOT NULL DEFAULT now(),
    resolved_at timestamp with time zone,
    resolution text,
    resolved_by text,
    resolution_note text,
    sent_cost text,
    link text,
    held jsonb,
    result_key text,
    kafka_topic_id text,
    receipt_id uuid,
    started_at timestamp with time zone,
    billing_account_id text,
    team_id text,
    team_alias text,
    key_alias text,
    key_hash text,
    user_id text,
    organization_id text,
    sub_agent_id text,
    parent_sub_agent_id text,
    tags text[],
    callback bytea,
    received_at timestamp with time zone,
    CONSTRAINT deferred_calls_pkey PRIMARY KEY (id),
    CONSTRAINT one_deferral_per_call UNIQUE (source_system, call_key),
    CONSTRAINT deferred_calls_check CHECK ((resolved_at IS NULL) = (resolution IS NULL)),
    CONSTRAINT deferred_calls_reason_check CHECK (reason = ANY (ARRAY['suspicious_zero'::text, 'missing_cost'::text, 'unusable_cost'::text, 'awaiting_result'::text, 'awaiting_create'::text, 'ambiguous_read'::text])),
    CONSTRAINT suggested_cost_usd_is_finite CHECK (suggested_cost_usd < 'Infinity'::numeric AND suggested_cost_usd > '-Infinity'::numeric),
    CONSTRAINT unusable_cost_says_what CHECK ((reason = 'unusable_cost'::text) = (sent_cost IS NOT NULL))
);
CREATE INDEX deferred_calls_link ON billing.deferred_calls USING btree (link) WHERE link IS NOT NULL;
CREATE INDEX deferred_calls_litellm_call_id ON billing.deferred_calls USING btree (litellm_call_id);
CREATE INDEX deferred_calls_open ON billing.deferred_calls USING btree (deferred_at) WHERE resolved_at IS NULL;
CREATE INDEX deferred_calls_reopened ON billing.deferred_calls USING btree (resolved_at) WHERE resolution = 'reopened'::text;
CREATE INDEX deferred_calls_response_id ON billing.deferred_calls USING btree (response_id);
CREATE INDEX deferred_calls_run_id ON billing.deferred_calls USING btree (run_id);
CREATE TRIGGER note_deferred_runs AFTER INSERT ON billing.deferred_calls REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION billing.note_changed_runs();
CREATE TRIGGER note_resolved_runs AFTER UPDATE ON billing.deferred_calls REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION billing.note_changed_runs();
CREATE TRIGGER record_births AFTER INSERT ON billing.deferred_calls REFERENCING NEW TABLE AS moved FOR EACH STATEMENT EXECUTE FUNCTION billing.record_transitions();
CREATE TRIGGER record_moves AFTER UPDATE ON billing.deferred_calls REFERENCING OLD TABLE AS former NEW TABLE AS moved FOR EACH STATEMENT EXECUTE FUNCTION billing.record_transitions();
COMMENT ON TABLE billing.deferred_calls IS 'Calls that should have cost something and say zero or nothing, open and resolved.';
COMMENT ON COLUMN billing.deferred_calls.sent_cost IS 'The sender''s text of a cost that is no money; nothing computes with it.';
COMMENT ON COLUMN billing.deferred_calls.link IS 'What all callbacks of one background response share.';
COMMENT ON COLUMN billing.deferred_calls.held IS 'The receipt that is to be written, or whose the create is.';
COMMENT ON COLUMN billing.deferred_calls.result_key IS 'The call key of the result that a create has had.';
COMMENT ON COLUMN billing.deferred_calls.kafka_topic_id IS 'Which topic of that name; NULL where that was not kept yet.';
COMMENT ON COLUMN billing.deferred_calls.receipt_id IS 'Which id the receipt of the call has or would have; NULL until migrate fills it in.';
COMMENT ON COLUMN billing.deferred_calls.callback IS 'The fields that billing reads of it, for a settlement when the topic has forgotten it; no content. NULL before 0015, and where it is large.';
COMMENT ON COLUMN billing.deferred_calls.received_at IS 'When the gateway took the callback; NULL where it is not kept.';

CREATE TABLE billing.receipt_conflicts (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    charge_receipt_id uuid NOT NULL,
    source_system text NOT NULL,
    call_key text NOT NULL,
    receipt_content_hash text NOT NULL,
    conflict_content_hash text NOT NULL,
    billing_account_id text NOT NULL,
    response_cost_usd numeric NOT NULL,
    model text,
    tokens_in bigint,
    tokens_out bigint,
    kafka_topic text NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    detected_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT receipt_conflicts_pkey PRIMARY KEY (id),
    CONSTRAINT one_conflict_per_content UNIQUE (source_system, call_key, conflict_content_hash),
    CONSTRAINT receipt_conflicts_charge_receipt_id_fkey FOREIGN KEY (charge_receipt_id) REFERENCES billing.charge_receipts(id),
    CONSTRAINT response_cost_usd_is_finite CHECK (response_cost_usd < 'Infinity'::numeric AND response_cost_usd > '-Infinity'::numeric)
);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.receipt_conflicts FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
COMMENT ON TABLE billing.receipt_conflicts IS 'Callbacks that contradict the receipt of their call; it stays as it is. Append-only.';

CREATE TABLE billing.usage_units (
    unit_id uuid NOT NULL,
    run_id text NOT NULL,
    attempt integer NOT NULL,
    litellm_call_id text,
    response_id text,
    executor text NOT NULL,
    model text,
    graph_id text,
    sub_agent_id text,
    parent_sub_agent_id text,
    tool_call_id text,
    tokens_in bigint,
    tokens_out bigint,
    started_at timestamp with time zone,
    finished_at timestamp with time zone NOT NULL,
    kafka_topic text NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    billing_account_id text,
    run_completed boolean NOT NULL DEFAULT false,
    CONSTRAINT usage_units_pkey PRIMARY KEY (unit_id)
);
CREATE INDEX usage_units_accounts ON billing.usage_units USING btree (run_id, attempt) WHERE billing_account_id IS NOT NULL;
CREATE INDEX usage_units_litellm_call_id ON billing.usage_units USING btree (litellm_call_id);
CREATE INDEX usage_units_run_id ON billing.usage_units USING btree (run_id);
CREATE TRIGGER note_changed_runs AFTER INSERT ON billing.usage_units REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION billing.note_changed_runs();
COMMENT ON TABLE billing.usage_units IS 'What executors say of their calls, to compare with; never billed.';
COMMENT ON COLUMN billing.usage_units.run_completed IS 'It says that the run has ended, and is of no call.';

CREATE TABLE billing.published_offsets (
    consumer_group text NOT NULL,
    kafka_topic text NOT NULL,
    kafka_partition integer NOT NULL,
    topic_id text NOT NULL,
    next_offset bigint NOT NULL,
    written_at timestamp with time zone NOT NULL DEFAULT now(),
    published_offset bigint,
    after_batch_at timestamp with time zone,
    topic_since timestamp with time zone NOT NULL DEFAULT '-infinity'::timestamp with time zone,
    CONSTRAINT published_offsets_pkey PRIMARY KEY (consumer_group, kafka_topic, kafka_partition),
    CONSTRAINT published_offsets_next_offset_check CHECK (next_offset >= 0),
    CONSTRAINT published_offsets_published_offset_check CHECK (published_offset >= 0)
) WITH (fillfactor=50);
COMMENT ON TABLE billing.published_offsets IS 'Up to where each group has written and published each partition.';
COMMENT ON COLUMN billing.published_offsets.next_offset IS 'Everything below it is written.';
COMMENT ON COLUMN billing.published_offsets.published_offset IS 'Everything below it is published, too.';
COMMENT ON COLUMN billing.published_offsets.after_batch_at IS 'Not written_at where a release before 0007 wrote last.';
COMMENT ON COLUMN billing.published_offsets.topic_since IS 'When this topic took the place of an earlier one of the same name.';

CREATE TABLE billing.lost_records (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    consumer_group text NOT NULL,
    kafka_topic text NOT NULL,
    kafka_partition integer NOT NULL,
    topic_id text NOT NULL,
    first_offset bigint NOT NULL,
    next_offset bigint NOT NULL,
    reason text NOT NULL,
    detected_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT lost_records_pkey PRIMARY KEY (id),
    CONSTRAINT lost_records_check CHECK (next_offset > first_offset),
    CONSTRAINT lost_records_first_offset_check CHECK (first_offset >= 0),
    CONSTRAINT lost_records_reason_check CHECK (reason = ANY (ARRAY['expired'::text, 'never_read'::text, 'ledger_lost'::text]))
);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.lost_records FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
COMMENT ON TABLE billing.lost_records IS 'Records without an outcome that nobody can read any more. Append-only.';

CREATE TABLE billing.reconciler_cursors (
    source_system text NOT NULL,
    reconciled_until timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT reconciler_cursors_pkey PRIMARY KEY (source_system)
);
COMMENT ON TABLE billing.reconciler_cursors IS 'Up to when LiteLLM''s spend log is compared with the books.';

CREATE TABLE billing.reconciler_findings (
    source_system text NOT NULL,
    request_id text NOT NULL,
    litellm_call_id text,
    call_key text,
    verdict text NOT NULL,
    reason text,
    spend_usd numeric,
    receipt_cost_usd numeric,
    started_at timestamp with time zone,
    end_user text,
    first_seen_at timestamp with time zone NOT NULL DEFAULT now(),
    last_seen_at timestamp with time zone NOT NULL DEFAULT now(),
    reposted_at timestamp with time zone,
    tries integer NOT NULL DEFAULT 0,
    closed_at timestamp with time zone,
    closed_by text,
    closed_note text,
    CONSTRAINT one_finding_per_row PRIMARY KEY (source_system, request_id),
    CONSTRAINT receipt_cost_usd_is_finite CHECK (receipt_cost_usd < 'Infinity'::numeric AND receipt_cost_usd > '-Infinity'::numeric),
    CONSTRAINT reconciler_findings_tries_check CHECK (tries >= 0),
    CONSTRAINT reconciler_findings_verdict_check CHECK (verdict = ANY (ARRAY['missing'::text, 'priced'::text, 'differs'::text, 'unidentified'::text, 'elsewhere'::text, 'unreadable'::text])),
    CONSTRAINT spend_usd_is_finite CHECK (spend_usd < 'Infinity'::numeric AND spend_usd > '-Infinity'::numeric)
);
CREATE INDEX reconciler_findings_open ON billing.reconciler_findings USING btree (source_system, verdict, request_id) WHERE closed_at IS NULL;
COMMENT ON TABLE billing.reconciler_findings IS 'Rows of the spend log that the books had no answer to, open and closed.';
COMMENT ON COLUMN billing.reconciler_findings.request_id IS 'The row''s primary key in LiteLLM.';
COMMENT ON COLUMN billing.reconciler_findings.started_at IS 'When the call began; NULL where the row cannot be read.';
COMMENT ON COLUMN billing.reconciler_findings.reposted_at IS 'When the gateway last took the callback made of the row.';
COMMENT ON COLUMN billing.reconciler_findings.closed_by IS 'Who has closed it; NULL where the books have an answer.';

CREATE TABLE billing.credit_accounts (
    billing_account_id text NOT NULL,
    kind text NOT NULL,
    balance bigint NOT NULL DEFAULT 0,
    held bigint NOT NULL DEFAULT 0,
    "limit" bigint,
    opened_at timestamp with time zone NOT NULL DEFAULT now(),
    CONSTRAINT credit_accounts_pkey PRIMARY KEY (billing_account_id),
    CONSTRAINT credit_accounts_held_check CHECK (held >= 0),
    CONSTRAINT credit_accounts_kind_check CHECK (kind = ANY (ARRAY['prepaid'::text, 'postpaid'::text])),
    CONSTRAINT limit_of_its_kind CHECK (
CASE kind
    WHEN 'prepaid'::text THEN "limit" IS NOT NULL AND "limit" = 0
    ELSE "limit" >= 0 OR "limit" IS NULL
END)
) WITH (fillfactor=50);
COMMENT ON TABLE billing.credit_accounts IS 'Who may spend how much: balance, what of it is held, and how far below zero it may go.';
COMMENT ON COLUMN billing.credit_accounts.balance IS 'The sum of the entries of the account, at every commit.';
COMMENT ON COLUMN billing.credit_accounts.held IS 'The sum of its open holds, at every commit.';
COMMENT ON COLUMN billing.credit_accounts."limit" IS 'How far below zero holds may take it; NULL: without end. Receipts are debited whatever it is.';

CREATE TABLE billing.credit_entries (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    billing_account_id text NOT NULL,
    reason text NOT NULL,
    reference text NOT NULL,
    amount bigint NOT NULL,
    balance bigint NOT NULL,
    batch bigint,
    receipts integer,
    person text,
    note text,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT credit_entries_pkey PRIMARY KEY (id),
    CONSTRAINT one_entry_per_reference UNIQUE (reason, reference),
    CONSTRAINT credit_entries_billing_account_id_fkey FOREIGN KEY (billing_account_id) REFERENCES billing.credit_accounts(billing_account_id),
    CONSTRAINT credit_entries_amount_check CHECK (amount <> 0),
    CONSTRAINT credit_entries_reason_check CHECK (reason = ANY (ARRAY['charge_receipt'::text, 'correction'::text, 'grant'::text, 'widget_payment'::text, 'onchain_deposit'::text, 'refund'::text, 'write_off'::text])),
    CONSTRAINT debit_of_a_batch CHECK ((reason = 'charge_receipt'::text) = (batch IS NOT NULL AND receipts IS NOT NULL) AND (reason <> 'charge_receipt'::text OR amount < 0 AND receipts > 0))
);
CREATE INDEX credit_entries_account ON billing.credit_entries USING btree (billing_account_id, id);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.credit_entries FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
COMMENT ON TABLE billing.credit_entries IS 'Every movement of credits, signed. Append-only.';
COMMENT ON COLUMN billing.credit_entries.reference IS 'What moved it, once for each reason: batch and account of receipts, the idempotency key of a person.';
COMMENT ON COLUMN billing.credit_entries.balance IS 'Of the account, behind this entry.';
COMMENT ON COLUMN billing.credit_entries.batch IS 'The receipts with this credit_batch and this account: their charged_credits are the amount.';

CREATE TABLE billing.credit_limits (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    billing_account_id text NOT NULL,
    kind text NOT NULL,
    "limit" bigint,
    person text NOT NULL,
    note text NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT credit_limits_pkey PRIMARY KEY (id),
    CONSTRAINT credit_limits_billing_account_id_fkey FOREIGN KEY (billing_account_id) REFERENCES billing.credit_accounts(billing_account_id)
);
CREATE INDEX credit_limits_account ON billing.credit_limits USING btree (billing_account_id, id);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.credit_limits FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
COMMENT ON TABLE billing.credit_limits IS 'Who has said how an account pays, and when. Append-only.';

CREATE TABLE billing.credit_holds (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    billing_account_id text NOT NULL,
    litellm_call_id text NOT NULL,
    nonce text NOT NULL,
    amount bigint NOT NULL,
    state text NOT NULL DEFAULT 'held'::text,
    run_id text,
    attempt integer,
    model text,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    charge_receipt_id uuid,
    captured bigint,
    CONSTRAINT credit_holds_pkey PRIMARY KEY (id),
    CONSTRAINT one_hold_per_ask UNIQUE (billing_account_id, litellm_call_id, nonce),
    CONSTRAINT credit_holds_billing_account_id_fkey FOREIGN KEY (billing_account_id) REFERENCES billing.credit_accounts(billing_account_id),
    CONSTRAINT captured_by_a_receipt CHECK ((state = 'captured'::text) = (charge_receipt_id IS NOT NULL) AND (state = 'captured'::text) = (captured IS NOT NULL)),
    CONSTRAINT credit_holds_amount_check CHECK (amount >= 0),
    CONSTRAINT credit_holds_state_check CHECK (state = ANY (ARRAY['held'::text, 'captured'::text, 'released'::text, 'expired'::text])),
    CONSTRAINT ended_when_not_held CHECK ((state = 'held'::text) = (ended_at IS NULL))
);
CREATE INDEX credit_holds_created ON billing.credit_holds USING brin (created_at) WITH (autosummarize='on');
CREATE INDEX credit_holds_held ON billing.credit_holds USING btree (expires_at) WHERE state = 'held'::text;
COMMENT ON TABLE billing.credit_holds IS 'Credits that a call may take, from before it is made until its receipt.';
COMMENT ON COLUMN billing.credit_holds.nonce IS 'Of the plugin: a client chooses the call id, and could meet another''s.';
COMMENT ON COLUMN billing.credit_holds.captured IS 'What the receipt charged; NULL unless there is one.';

CREATE TABLE billing.credit_events (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    event_id uuid NOT NULL DEFAULT gen_random_uuid(),
    type text NOT NULL,
    billing_account_id text,
    kind text,
    balance bigint,
    held bigint,
    "limit" bigint,
    threshold bigint,
    amount bigint,
    reason text,
    litellm_call_id text,
    run_id text,
    attempt integer,
    model text,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    sequence bigint,
    correction_id uuid,
    checkpoint bigint,
    run_total uuid,
    CONSTRAINT credit_events_pkey PRIMARY KEY (id),
    CONSTRAINT credit_events_sequence_key UNIQUE (sequence),
    CONSTRAINT credit_events_type_check CHECK (type = ANY (ARRAY['threshold_crossed'::text, 'exhausted'::text, 'topped_up'::text, 'hold_expired'::text, 'corrected'::text, 'checkpoint'::text, 'run_settled'::text])),
    CONSTRAINT of_one_thing CHECK ((type = 'corrected'::text) = (correction_id IS NOT NULL) AND (type = 'checkpoint'::text) = (checkpoint IS NOT NULL) AND (type = 'run_settled'::text) = (run_total IS NOT NULL) AND ((type = ANY (ARRAY['checkpoint'::text, 'run_settled'::text])) OR billing_account_id IS NOT NULL) AND ((type = ANY (ARRAY['corrected'::text, 'checkpoint'::text, 'run_settled'::text])) OR kind IS NOT NULL AND balance IS NOT NULL AND held IS NOT NULL))
);
COMMENT ON TABLE billing.credit_events IS 'What other teams are told of accounts, of corrections, of checkpoints and of runs, until it is published.';
COMMENT ON COLUMN billing.credit_events.sequence IS 'In which order it is published; NULL: not numbered yet.';

CREATE TABLE billing.credit_event_publisher (
    one boolean NOT NULL DEFAULT true,
    holder text NOT NULL DEFAULT ''::text,
    until timestamp with time zone NOT NULL DEFAULT now(),
    last_sequence bigint NOT NULL DEFAULT 0,
    CONSTRAINT credit_event_publisher_pkey PRIMARY KEY (one),
    CONSTRAINT credit_event_publisher_one_check CHECK (one)
);
COMMENT ON TABLE billing.credit_event_publisher IS 'Which process publishes these events, and the last number that was given.';

CREATE TABLE billing.deferral_transitions (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    deferral_id bigint NOT NULL,
    source_system text NOT NULL,
    call_key text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    resolution text NOT NULL,
    person text,
    note text,
    application text NOT NULL,
    moved_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT deferral_transitions_pkey PRIMARY KEY (id),
    CONSTRAINT transition_is_allowed CHECK (((from_state || ' '::text) || resolution) = ANY (ARRAY['open callback'::text, 'open spend_log'::text, 'open cost_breakdown'::text, 'open settled'::text, 'open result'::text, 'open no_charge'::text, 'open waived'::text, 'written_off reopened'::text, 'reopened accepted'::text, 'reopened upheld'::text]))
);
CREATE INDEX deferral_transitions_deferral ON billing.deferral_transitions USING btree (deferral_id);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.deferral_transitions FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
COMMENT ON TABLE billing.deferral_transitions IS 'What became of deferred calls, one row a step: by whom, and when. Append-only.';
COMMENT ON COLUMN billing.deferral_transitions.person IS 'Who decided it; NULL where a charge did.';
COMMENT ON COLUMN billing.deferral_transitions.application IS 'Which process wrote it.';

CREATE TABLE billing.receipt_corrections (
    id uuid NOT NULL,
    charge_receipt_id uuid NOT NULL,
    number integer NOT NULL,
    reason text NOT NULL,
    amount_usd numeric NOT NULL,
    amount_credits bigint NOT NULL,
    corrected_usd numeric NOT NULL,
    corrected_credits bigint NOT NULL,
    reference text NOT NULL,
    person text NOT NULL,
    note text NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT receipt_corrections_pkey PRIMARY KEY (id),
    CONSTRAINT one_correction_per_number UNIQUE (charge_receipt_id, number),
    CONSTRAINT one_correction_per_reference UNIQUE (reference),
    CONSTRAINT receipt_corrections_charge_receipt_id_fkey FOREIGN KEY (charge_receipt_id) REFERENCES billing.charge_receipts(id),
    CONSTRAINT amount_usd_is_finite CHECK (amount_usd < 'Infinity'::numeric AND amount_usd > '-Infinity'::numeric),
    CONSTRAINT corrected_usd_is_no_debt CHECK (corrected_usd < 'Infinity'::numeric AND corrected_usd >= 0::numeric),
    CONSTRAINT receipt_corrections_corrected_credits_check CHECK (corrected_credits >= 0),
    CONSTRAINT receipt_corrections_number_check CHECK (number > 0),
    CONSTRAINT receipt_corrections_reason_check CHECK (reason = ANY (ARRAY['refund'::text, 'price'::text, 'late_usage'::text, 'twin'::text, 'conflict'::text]))
);
CREATE INDEX receipt_corrections_days ON billing.receipt_corrections USING btree (((created_at AT TIME ZONE 'UTC'::text)::date));
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.receipt_corrections FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
COMMENT ON TABLE billing.receipt_corrections IS 'What a receipt charges, put right: signed, in the order of number. Append-only.';
COMMENT ON COLUMN billing.receipt_corrections.id IS 'Follows from the reference: it is the same in a ledger that is restored.';
COMMENT ON COLUMN billing.receipt_corrections.amount_usd IS 'Added to charged_usd of the receipt.';
COMMENT ON COLUMN billing.receipt_corrections.amount_credits IS 'Added to its charged_credits: with its corrections, these are rounded up once.';
COMMENT ON COLUMN billing.receipt_corrections.corrected_usd IS 'What the receipt charges behind this correction.';
COMMENT ON COLUMN billing.receipt_corrections.reference IS 'The idempotency key of whoever corrects.';

CREATE TABLE billing.seals (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    version smallint NOT NULL,
    written_at timestamp with time zone NOT NULL DEFAULT now(),
    records integer NOT NULL,
    digest bytea NOT NULL,
    entries bytea NOT NULL,
    person text,
    sealed_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT seals_pkey PRIMARY KEY (id),
    CONSTRAINT an_entry_of_eight_bytes_a_record CHECK (octet_length(entries) = (8 * records)),
    CONSTRAINT seals_digest_check CHECK (octet_length(digest) = 32),
    CONSTRAINT seals_kind_check CHECK (kind = ANY (ARRAY['receipts'::text, 'corrections'::text])),
    CONSTRAINT seals_records_check CHECK (records > 0)
);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.seals FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
COMMENT ON TABLE billing.seals IS 'What the rows that one transaction wrote were then: billing verify compares. Append-only.';
COMMENT ON COLUMN billing.seals.version IS 'Which columns are sealed, and how.';
COMMENT ON COLUMN billing.seals.written_at IS 'The transaction''s time, which is created_at of its receipts.';
COMMENT ON COLUMN billing.seals.digest IS 'SHA-256 of the rows'' digests, in their order.';
COMMENT ON COLUMN billing.seals.entries IS 'The first eight bytes of each row''s digest, in the same order.';
COMMENT ON COLUMN billing.seals.person IS 'Who sealed rows later that had no seal; NULL where the writer did.';

CREATE TABLE billing.checkpoints (
    number bigint NOT NULL,
    previous bytea NOT NULL,
    hash bytea NOT NULL,
    seals integer NOT NULL,
    records bigint NOT NULL,
    made_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT checkpoints_pkey PRIMARY KEY (number),
    CONSTRAINT checkpoints_hash_check CHECK (octet_length(hash) = 32),
    CONSTRAINT checkpoints_number_check CHECK (number > 0),
    CONSTRAINT checkpoints_previous_check CHECK (octet_length(previous) = 32),
    CONSTRAINT checkpoints_records_check CHECK (records > 0),
    CONSTRAINT checkpoints_seals_check CHECK (seals > 0)
);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.checkpoints FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
COMMENT ON TABLE billing.checkpoints IS 'A chain over the seals, published for others to keep. Append-only.';
COMMENT ON COLUMN billing.checkpoints.hash IS 'SHA-256 of the previous hash and of the seals of this checkpoint.';

CREATE TABLE billing.sealed (
    seal_id bigint NOT NULL,
    checkpoint bigint,
    CONSTRAINT sealed_pkey PRIMARY KEY (seal_id)
);
CREATE INDEX sealed_checkpoint ON billing.sealed USING btree (checkpoint) WHERE checkpoint IS NOT NULL;
CREATE INDEX sealed_without_checkpoint ON billing.sealed USING btree (seal_id) WHERE checkpoint IS NULL;

CREATE TABLE billing.completed_runs (
    run_id text NOT NULL,
    completed_at timestamp with time zone NOT NULL,
    known_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    revision integer NOT NULL DEFAULT 0,
    due_at timestamp with time zone,
    CONSTRAINT completed_runs_pkey PRIMARY KEY (run_id),
    CONSTRAINT completed_runs_revision_check CHECK (revision >= 0)
);
CREATE INDEX completed_runs_due ON billing.completed_runs USING btree (due_at) WHERE due_at IS NOT NULL;
COMMENT ON TABLE billing.completed_runs IS 'Runs that executors say have ended.';
COMMENT ON COLUMN billing.completed_runs.completed_at IS 'When the run ended, by the executor''s clock.';
COMMENT ON COLUMN billing.completed_runs.known_at IS 'When this ledger was told so last.';
COMMENT ON COLUMN billing.completed_runs.revision IS 'Of the last total; 0 where there is none.';
COMMENT ON COLUMN billing.completed_runs.due_at IS 'When to look what it has cost; NULL until something changes. Like known_at until the first look.';

CREATE TABLE billing.run_totals (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    run_id text NOT NULL,
    revision integer NOT NULL,
    completed_at timestamp with time zone NOT NULL,
    calls bigint NOT NULL,
    corrections bigint NOT NULL,
    charged_usd numeric NOT NULL,
    charged_credits bigint NOT NULL,
    open_calls bigint NOT NULL,
    open jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT run_totals_pkey PRIMARY KEY (id),
    CONSTRAINT one_total_per_revision UNIQUE (run_id, revision),
    CONSTRAINT charged_usd_is_no_debt CHECK (charged_usd < 'Infinity'::numeric AND charged_usd >= 0::numeric),
    CONSTRAINT run_totals_calls_check CHECK (calls >= 0),
    CONSTRAINT run_totals_corrections_check CHECK (corrections >= 0),
    CONSTRAINT run_totals_open_calls_check CHECK (open_calls >= 0),
    CONSTRAINT run_totals_revision_check CHECK (revision > 0)
);
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON billing.run_totals FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
COMMENT ON TABLE billing.run_totals IS 'What other teams were told that a run has cost; the highest revision counts. Append-only.';
COMMENT ON COLUMN billing.run_totals.open IS 'The first hundred of its calls without a receipt.';

CREATE VIEW billing.open_deferrals AS
 SELECT id, source_system, call_key, litellm_call_id, response_id, reason,
    reason = ANY (ARRAY['awaiting_result'::text, 'awaiting_create'::text]) AS waiting,
    suggested_cost_usd, sent_cost, run_id, model, provider, tokens_in, tokens_out,
    kafka_topic, kafka_topic_id, kafka_partition, kafka_offset, occurred_at, deferred_at,
    resolved_at, resolution, resolved_by, resolution_note, started_at, billing_account_id,
    team_id, team_alias, key_alias, key_hash, user_id, organization_id, sub_agent_id,
    parent_sub_agent_id, tags
   FROM billing.deferred_calls deferred
  WHERE resolved_at IS NULL AND NOT (EXISTS ( SELECT
           FROM billing.charge_receipts receipt
          WHERE receipt.id = deferred.receipt_id));
COMMENT ON VIEW billing.open_deferrals IS 'Deferred calls that nobody has resolved and that have no receipt.';
COMMENT ON COLUMN billing.open_deferrals.waiting IS 'For another callback of its response: no matter for a person before a day.';

CREATE OR REPLACE FUNCTION billing.offset_in_topic(kafka_topic text, kafka_partition integer, kafka_offset bigint, written_at timestamp with time zone)
 RETURNS TABLE(known_offset bigint)
 LANGUAGE sql
 STABLE
BEGIN ATOMIC
 SELECT
         CASE
             WHEN (written_at < ( SELECT min(known.topic_since) AS min
                FROM billing.published_offsets known
               WHERE ((known.kafka_topic = offset_in_topic.kafka_topic) AND (known.kafka_partition = offset_in_topic.kafka_partition)))) THEN ('-1'::integer)::bigint
             ELSE kafka_offset
         END AS kafka_offset;
END;

CREATE VIEW billing.detailed_receipts AS
 SELECT receipt.id, receipt.source_system, receipt.call_key, receipt.litellm_call_id,
    receipt.response_id, receipt.source_reference, receipt.run_id, receipt.attempt,
    receipt.billing_account_id, receipt.response_cost_usd, receipt.charged_usd,
    receipt.charged_credits, receipt.cost_source, receipt.charge_reason, receipt.marks,
    receipt.content_hash, receipt.kafka_topic, receipt.kafka_partition,
    receipt.kafka_offset, receipt.occurred_at, receipt.created_at,
    COALESCE(receipt.provider_call_id, former.provider_call_id) AS provider_call_id,
    COALESCE(receipt.model, former.model) AS model,
    COALESCE(receipt.provider_model, former.provider_model) AS provider_model,
    COALESCE(receipt.provider, former.provider) AS provider,
    COALESCE(receipt.call_type, former.call_type) AS call_type,
    COALESCE(receipt.stream, former.stream) AS stream,
    COALESCE(receipt.tokens_in, former.tokens_in) AS tokens_in,
    COALESCE(receipt.tokens_out, former.tokens_out) AS tokens_out,
    COALESCE(receipt.tokens_cached_in, former.tokens_cached_in) AS tokens_cached_in,
    COALESCE(receipt.tokens_reasoning, former.tokens_reasoning) AS tokens_reasoning,
    COALESCE(receipt.latency_ms, former.latency_ms) AS latency_ms,
    COALESCE(receipt.ttft_ms, former.ttft_ms) AS ttft_ms,
    COALESCE(receipt.graph_id, former.graph_id) AS graph_id,
    COALESCE(receipt.sub_agent_id, former.sub_agent_id) AS sub_agent_id,
    COALESCE(receipt.parent_sub_agent_id, former.parent_sub_agent_id) AS parent_sub_agent_id,
    COALESCE(receipt.tool_call_id, former.tool_call_id) AS tool_call_id,
    COALESCE(receipt.tags, former.tags) AS tags,
    COALESCE(receipt.saved_cache_cost, former.saved_cache_cost) AS saved_cache_cost,
    receipt.started_at, receipt.team_id, receipt.team_alias, receipt.key_alias,
    receipt.key_hash, receipt.user_id, receipt.organization_id
   FROM billing.charge_receipts receipt
     LEFT JOIN billing.former_charge_details former ON former.charge_receipt_id = receipt.id AND receipt.stream IS NULL;
COMMENT ON VIEW billing.detailed_receipts IS 'Receipts with their details, wherever these stand.';

CREATE VIEW billing.llm_charge_details AS
 SELECT id AS charge_receipt_id, provider_call_id, model, provider_model, provider,
    call_type, stream, tokens_in, tokens_out, tokens_cached_in, tokens_reasoning,
    latency_ms, ttft_ms, graph_id, sub_agent_id, parent_sub_agent_id, tool_call_id, tags,
    saved_cache_cost
   FROM billing.detailed_receipts;
CREATE TRIGGER append_only BEFORE DELETE OR UPDATE ON billing.llm_charge_details FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER append_only_rows INSTEAD OF DELETE OR UPDATE ON billing.llm_charge_details FOR EACH ROW EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER keep_former_details INSTEAD OF INSERT ON billing.llm_charge_details FOR EACH ROW EXECUTE FUNCTION billing.keep_former_details();
COMMENT ON VIEW billing.llm_charge_details IS 'The details alone, by the name that they had as a table.';

CREATE VIEW billing.spend AS
 SELECT (COALESCE(receipt.started_at, receipt.occurred_at) AT TIME ZONE 'UTC'::text)::date AS day,
    COALESCE(receipt.started_at, receipt.occurred_at) AS started_at,
    receipt.occurred_at AS ended_at, receipt.billing_account_id AS account,
    receipt.team_id, receipt.team_alias, receipt.key_hash, receipt.key_alias,
    receipt.user_id, receipt.organization_id, receipt.model, receipt.provider,
    receipt.call_type, receipt.run_id, receipt.attempt, receipt.graph_id,
    receipt.sub_agent_id, receipt.parent_sub_agent_id, receipt.tool_call_id, receipt.tags,
    receipt.charge_reason, receipt.cost_source, receipt.marks, receipt.tokens_in,
    receipt.tokens_out, receipt.tokens_cached_in, receipt.tokens_reasoning,
    receipt.response_cost_usd, receipt.charged_usd, receipt.charged_credits,
    receipt.id AS receipt_id, receipt.source_system, receipt.call_key,
    receipt.litellm_call_id, receipt.response_id, receipt.created_at
   FROM billing.detailed_receipts receipt
UNION ALL
 SELECT (correction.created_at AT TIME ZONE 'UTC'::text)::date AS day,
    correction.created_at AS started_at, correction.created_at AS ended_at,
    receipt.billing_account_id AS account, receipt.team_id, receipt.team_alias,
    receipt.key_hash, receipt.key_alias, receipt.user_id, receipt.organization_id,
    receipt.model, receipt.provider, receipt.call_type, receipt.run_id, receipt.attempt,
    receipt.graph_id, receipt.sub_agent_id, receipt.parent_sub_agent_id,
    receipt.tool_call_id, receipt.tags, correction.reason AS charge_reason,
    'correction'::text AS cost_source, receipt.marks, NULL::bigint AS tokens_in,
    NULL::bigint AS tokens_out, NULL::bigint AS tokens_cached_in,
    NULL::bigint AS tokens_reasoning, 0::numeric AS response_cost_usd,
    correction.amount_usd AS charged_usd, correction.amount_credits AS charged_credits,
    receipt.id AS receipt_id, receipt.source_system, receipt.call_key,
    receipt.litellm_call_id, receipt.response_id, correction.created_at
   FROM billing.receipt_corrections correction
     JOIN billing.detailed_receipts receipt ON receipt.id = correction.charge_receipt_id;
COMMENT ON VIEW billing.spend IS 'A row for each receipt and for each correction, in the words of billing spend: docs/finance.md says what each column is.';
COMMENT ON COLUMN billing.spend.day IS 'On which the call began, in UTC. Name it in a condition: it has indexes.';
COMMENT ON COLUMN billing.spend.run_id IS 'The call key where the call names no run; marks has unattributed_run then.';

CREATE VIEW billing.credit_ledger AS
 SELECT entry.id AS entry_id, entry.billing_account_id, entry.reason,
    COALESCE(receipt.id::text, entry.reference) AS reference,
    COALESCE(- receipt.charged_credits, entry.amount) AS amount,
    COALESCE(receipt.id, corrected.id) AS charge_receipt_id,
    COALESCE(receipt.run_id, corrected.run_id) AS run_id,
    COALESCE(receipt.model, corrected.model) AS model, entry.person, entry.note,
    COALESCE(receipt.occurred_at, entry.created_at) AS occurred_at, entry.created_at
   FROM billing.credit_entries entry
     LEFT JOIN billing.charge_receipts receipt ON receipt.credit_batch = entry.batch AND receipt.billing_account_id = entry.billing_account_id
     LEFT JOIN billing.receipt_corrections correction ON entry.reason = 'correction'::text AND correction.id::text = entry.reference
     LEFT JOIN billing.charge_receipts corrected ON corrected.id = correction.charge_receipt_id;
COMMENT ON VIEW billing.credit_ledger IS 'Every movement of credits; the debit of a batch as its receipts, which add up to it.';

CREATE OR REPLACE FUNCTION billing.deferral_state(resolution text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
AS $function$
    SELECT CASE
        WHEN resolution IS NULL THEN 'open'
        WHEN resolution IN ('waived', 'no_charge') THEN 'written_off'
        WHEN resolution IN ('reopened', 'upheld') THEN resolution
        ELSE 'settled'
    END
$function$;

CREATE OR REPLACE FUNCTION billing.resolution_of(cost_source text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE STRICT
AS $function$
    SELECT CASE cost_source
        WHEN 'operator' THEN 'settled'
        WHEN 'cost_breakdown' THEN 'cost_breakdown'
        WHEN 'litellm_spend_log' THEN 'spend_log'
        ELSE 'callback'
    END
$function$;

CREATE VIEW billing.unmatched_units AS
 SELECT unit_id, run_id, attempt, litellm_call_id, response_id, executor, model,
    finished_at
   FROM billing.usage_units unit
  WHERE NOT run_completed AND (billing_account_id IS NULL OR litellm_call_id IS NOT NULL OR response_id IS NOT NULL) AND NOT (EXISTS ( SELECT
           FROM billing.charge_receipts receipt
          WHERE hashtextextended(receipt.litellm_call_id, 0::bigint) = hashtextextended(unit.litellm_call_id, 0::bigint) AND receipt.litellm_call_id = unit.litellm_call_id)) AND NOT (EXISTS ( SELECT
           FROM billing.charge_receipts receipt
          WHERE hashtextextended(receipt.response_id, 0::bigint) = hashtextextended(unit.response_id, 0::bigint) AND receipt.response_id = unit.response_id)) AND NOT (EXISTS ( SELECT
           FROM billing.deferred_calls deferred
          WHERE deferred.litellm_call_id = unit.litellm_call_id)) AND NOT (EXISTS ( SELECT
           FROM billing.deferred_calls deferred
          WHERE deferred.response_id = unit.response_id));
COMMENT ON VIEW billing.unmatched_units IS 'What executors say they called and neither a receipt nor a deferral knows of.';

GRANT USAGE ON SCHEMA billing TO billing_consumer, billing_guard, billing_reader, billing_reconciler;
GRANT INSERT, SELECT ON billing.charge_receipts TO billing_consumer;
GRANT SELECT ON billing.charge_receipts TO billing_guard, billing_reader, billing_reconciler;
GRANT INSERT, SELECT ON billing.checkpoints TO billing_consumer;
GRANT SELECT ON billing.checkpoints TO billing_reader;
GRANT INSERT, SELECT, UPDATE (completed_at, due_at, known_at, revision) ON billing.completed_runs TO billing_consumer;
GRANT SELECT ON billing.completed_runs TO billing_reader;
GRANT INSERT, SELECT, UPDATE ON billing.credit_accounts TO billing_consumer, billing_guard;
GRANT SELECT ON billing.credit_accounts TO billing_reader, billing_reconciler;
GRANT INSERT, SELECT ON billing.credit_entries TO billing_consumer, billing_guard;
GRANT SELECT ON billing.credit_entries TO billing_reader, billing_reconciler;
GRANT SELECT ON billing.credit_event_publisher TO billing_reader;
GRANT SELECT, UPDATE ON billing.credit_event_publisher TO billing_consumer;
GRANT DELETE, INSERT, SELECT, UPDATE (sequence) ON billing.credit_events TO billing_consumer;
GRANT INSERT ON billing.credit_events TO billing_guard;
GRANT SELECT ON billing.credit_events TO billing_reader;
GRANT DELETE, INSERT, SELECT, UPDATE ON billing.credit_holds TO billing_guard;
GRANT SELECT ON billing.credit_holds TO billing_reader, billing_reconciler;
GRANT SELECT, UPDATE (captured, charge_receipt_id, ended_at, expires_at, state) ON billing.credit_holds TO billing_consumer;
GRANT SELECT ON billing.credit_ledger TO billing_consumer, billing_guard, billing_reader, billing_reconciler;
GRANT INSERT ON billing.credit_limits TO billing_guard;
GRANT SELECT ON billing.credit_limits TO billing_reader;
GRANT INSERT, SELECT ON billing.deferral_transitions TO billing_consumer;
GRANT SELECT ON billing.deferral_transitions TO billing_reader;
GRANT INSERT, SELECT, UPDATE (resolution, resolution_note, resolved_at, resolved_by, result_key) ON billing.deferred_calls TO billing_consumer;
GRANT SELECT ON billing.deferred_calls TO billing_reader, billing_reconciler;
GRANT SELECT ON billing.detailed_receipts TO billing_consumer, billing_reader, billing_reconciler;
GRANT INSERT, SELECT ON billing.former_charge_details TO billing_consumer;
GRANT SELECT ON billing.former_charge_details TO billing_reader;
GRANT INSERT, SELECT ON billing.llm_charge_details TO billing_consumer;
GRANT SELECT ON billing.llm_charge_details TO billing_reader;
GRANT INSERT, SELECT ON billing.lost_records TO billing_consumer;
GRANT SELECT ON billing.lost_records TO billing_reader;
GRANT SELECT ON billing.open_deferrals TO billing_reader;
GRANT SELECT, UPDATE (resolution, resolution_note, resolved_at, resolved_by) ON billing.open_deferrals TO billing_consumer;
GRANT INSERT, SELECT, UPDATE (after_batch_at, next_offset, published_offset, topic_id, topic_since, written_at) ON billing.published_offsets TO billing_consumer;
GRANT SELECT ON billing.published_offsets TO billing_reader;
GRANT INSERT, SELECT ON billing.receipt_conflicts TO billing_consumer;
GRANT SELECT ON billing.receipt_conflicts TO billing_reader, billing_reconciler;
GRANT INSERT, SELECT ON billing.receipt_corrections TO billing_consumer;
GRANT SELECT ON billing.receipt_corrections TO billing_guard, billing_reader;
GRANT INSERT, SELECT, UPDATE ON billing.reconciler_cursors TO billing_reconciler;
GRANT SELECT ON billing.reconciler_cursors TO billing_reader;
GRANT INSERT, SELECT, UPDATE ON billing.reconciler_findings TO billing_reconciler;
GRANT SELECT ON billing.reconciler_findings TO billing_reader;
GRANT INSERT, SELECT ON billing.run_totals TO billing_consumer;
GRANT SELECT ON billing.run_totals TO billing_reader;
GRANT SELECT ON billing.schema_migrations TO billing_consumer, billing_guard, billing_reader, billing_reconciler;
GRANT INSERT, SELECT, UPDATE (checkpoint) ON billing.sealed TO billing_consumer;
GRANT SELECT ON billing.sealed TO billing_reader;
GRANT INSERT, SELECT ON billing.seals TO billing_consumer;
GRANT SELECT ON billing.seals TO billing_reader;
GRANT SELECT ON billing.spend TO billing_consumer, billing_reader;
GRANT SELECT ON billing.unmatched_units TO billing_consumer, billing_reader, billing_reconciler;
GRANT INSERT, SELECT ON billing.usage_units TO billing_consumer;
GRANT SELECT ON billing.usage_units TO billing_guard, billing_reader, billing_reconciler;
