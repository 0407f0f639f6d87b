-- The one table of Kafka Connect: what the tables of the first migration have of a receipt and of its
-- call, with their look-ups, without the place of the callback in Kafka, and flat: tags are text.

CREATE SCHEMA billing;

CREATE TABLE billing.flat_receipts (
    id                  uuid        PRIMARY KEY,
    source_system       text        NOT NULL,
    call_key            text        NOT NULL,
    litellm_call_id     text,
    response_id         text        NOT NULL,
    source_reference    text        NOT NULL,
    run_id              text        NOT NULL,
    attempt             integer     NOT NULL,
    billing_account_id  text        NOT NULL,
    response_cost_usd   numeric     NOT NULL,
    charged_usd         numeric     NOT NULL,
    charged_credits     bigint      NOT NULL,
    cost_source         text        NOT NULL,
    charge_reason       text        NOT NULL,
    occurred_at         timestamptz NOT NULL,
    model               text,
    provider_model      text,
    provider            text,
    call_type           text,
    stream              boolean     NOT NULL,
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
    tags                text        NOT NULL
);
CREATE INDEX ON billing.flat_receipts (litellm_call_id);
CREATE INDEX ON billing.flat_receipts (response_id);
CREATE INDEX ON billing.flat_receipts (run_id);
