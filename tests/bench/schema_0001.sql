-- The yardstick: the ledger's tables as the first migration made them. Frozen, whatever the ledger
-- becomes: figures of different releases are compared with what it costs to write into these.

-- The ledger: receipts, their details, and what could not become a receipt.
-- Text columns are text: ids reach 505 characters and nothing is gained by a limit here; the writer
-- bounds what is indexed.

CREATE SCHEMA IF NOT EXISTS billing;

CREATE TABLE billing.charge_receipts (
    id                 uuid        PRIMARY KEY,
    source_system      text        NOT NULL,
    call_key           text        NOT NULL,
    litellm_call_id    text,
    response_id        text        NOT NULL,
    source_reference   text        NOT NULL,
    run_id             text        NOT NULL,
    attempt            integer     NOT NULL CHECK (attempt >= 0),
    billing_account_id text        NOT NULL,
    response_cost_usd  numeric     NOT NULL CHECK (response_cost_usd >= 0),
    charged_usd        numeric     NOT NULL CHECK (charged_usd >= 0),
    charged_credits    bigint      NOT NULL CHECK (charged_credits >= 0),
    cost_source        text        NOT NULL,
    charge_reason      text        NOT NULL CHECK (charge_reason IN (
        'usage', 'partial', 'cache_hit', 'free_model', 'health_probe', 'silent_experiment')),
    marks              text[]      NOT NULL DEFAULT '{}',
    content_hash       text        NOT NULL,
    kafka_topic        text        NOT NULL,
    kafka_partition    integer     NOT NULL,
    kafka_offset       bigint      NOT NULL,
    occurred_at        timestamptz NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    -- NO_ZERO_RECEIPTS_FOR_PAID_MODELS, NO_PLACEHOLDER_RECEIPTS: a zero has a reason or is no receipt.
    CONSTRAINT zero_has_a_reason CHECK (
        response_cost_usd > 0 OR charge_reason NOT IN ('usage', 'partial')),
    CONSTRAINT one_receipt_per_call UNIQUE (source_system, call_key)
);
CREATE INDEX charge_receipts_litellm_call_id ON billing.charge_receipts (litellm_call_id);
CREATE INDEX charge_receipts_response_id ON billing.charge_receipts (response_id);
CREATE INDEX charge_receipts_run_id ON billing.charge_receipts (run_id);

CREATE TABLE billing.llm_charge_details (
    charge_receipt_id   uuid PRIMARY KEY REFERENCES billing.charge_receipts (id),
    provider_call_id    text,
    model               text,
    provider_model      text,
    provider            text,
    call_type           text,
    stream              boolean NOT NULL,
    tokens_in           bigint,
    tokens_out          bigint,
    tokens_cached_in    bigint,
    tokens_reasoning    bigint,
    latency_ms          integer,
    ttft_ms             integer,
    graph_id            text,
    sub_agent_id        text,
    parent_sub_agent_id text,
    tool_call_id        text,
    tags                text[] NOT NULL DEFAULT '{}',
    saved_cache_cost    numeric
);

CREATE TABLE billing.deferred_calls (
    id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source_system      text        NOT NULL,
    call_key           text        NOT NULL,
    litellm_call_id    text,
    response_id        text        NOT NULL,
    reason             text        NOT NULL CHECK (reason IN ('suspicious_zero', 'missing_cost')),
    suggested_cost_usd numeric,
    run_id             text        NOT NULL,
    model              text,
    provider           text,
    tokens_in          bigint,
    tokens_out         bigint,
    kafka_topic        text        NOT NULL,
    kafka_partition    integer     NOT NULL,
    kafka_offset       bigint      NOT NULL,
    occurred_at        timestamptz NOT NULL,
    deferred_at        timestamptz NOT NULL DEFAULT now(),
    resolved_at        timestamptz,
    resolution         text,
    CHECK ((resolved_at IS NULL) = (resolution IS NULL)),
    CONSTRAINT one_deferral_per_call UNIQUE (source_system, call_key)
);
CREATE INDEX deferred_calls_open ON billing.deferred_calls (deferred_at) WHERE resolved_at IS NULL;
CREATE INDEX deferred_calls_run_id ON billing.deferred_calls (run_id);

CREATE TABLE billing.receipt_conflicts (
    id                    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    charge_receipt_id     uuid        NOT NULL REFERENCES billing.charge_receipts (id),
    source_system         text        NOT NULL,
    call_key              text        NOT NULL,
    receipt_content_hash  text        NOT NULL,
    conflict_content_hash text        NOT NULL,
    billing_account_id    text        NOT NULL,
    response_cost_usd     numeric     NOT NULL,
    model                 text,
    tokens_in             bigint,
    tokens_out            bigint,
    kafka_topic           text        NOT NULL,
    kafka_partition       integer     NOT NULL,
    kafka_offset          bigint      NOT NULL,
    detected_at           timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT one_conflict_per_content UNIQUE (source_system, call_key, conflict_content_hash)
);

CREATE TABLE billing.usage_units (
    unit_id             uuid        PRIMARY KEY,
    run_id              text        NOT NULL,
    attempt             integer     NOT NULL,
    litellm_call_id     text,
    response_id         text,
    executor            text        NOT NULL,
    model               text,
    graph_id            text,
    sub_agent_id        text,
    parent_sub_agent_id text,
    tool_call_id        text,
    tokens_in           bigint,
    tokens_out          bigint,
    started_at          timestamptz,
    finished_at         timestamptz NOT NULL,
    kafka_topic         text        NOT NULL,
    kafka_partition     integer     NOT NULL,
    kafka_offset        bigint      NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX usage_units_run_id ON billing.usage_units (run_id);
CREATE INDEX usage_units_litellm_call_id ON billing.usage_units (litellm_call_id);

-- RECEIPTS_ARE_IMMUTABLE, for every role, the owner included.
CREATE FUNCTION billing.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'billing.% is append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'restrict_violation',
              HINT = 'Write a correcting entry instead.';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.charge_receipts
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.llm_charge_details
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.receipt_conflicts
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();
