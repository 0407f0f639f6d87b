-- Corrections: what a receipt charges is put right by a row that points at it. See docs/decisions/0030.

SET LOCAL lock_timeout = '2s';

CREATE TABLE billing.receipt_corrections (
    id                uuid        PRIMARY KEY,
    charge_receipt_id uuid        NOT NULL REFERENCES billing.charge_receipts,
    number            integer     NOT NULL CHECK (number > 0),
    reason            text        NOT NULL
        CHECK (reason IN ('refund', 'price', 'late_usage', 'twin', 'conflict')),
    amount_usd        numeric     NOT NULL CONSTRAINT amount_usd_is_finite
        CHECK (amount_usd < 'Infinity' AND amount_usd > '-Infinity'),
    amount_credits    bigint      NOT NULL,
    corrected_usd     numeric     NOT NULL CONSTRAINT corrected_usd_is_no_debt
        CHECK (corrected_usd < 'Infinity' AND corrected_usd >= 0),
    corrected_credits bigint      NOT NULL CHECK (corrected_credits >= 0),
    reference         text        NOT NULL,
    person            text        NOT NULL,
    note              text        NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT one_correction_per_reference UNIQUE (reference),
    CONSTRAINT one_correction_per_number UNIQUE (charge_receipt_id, number)
);
CREATE INDEX receipt_corrections_days
ON billing.receipt_corrections (((created_at AT TIME ZONE 'UTC')::date));
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.receipt_corrections
FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

COMMENT ON TABLE billing.receipt_corrections IS 'What a receipt charges, put right: signed, in the order of number. Append-only.';
COMMENT ON COLUMN billing.receipt_corrections.id IS 'Follows from the reference: it is the same in a ledger that is restored.';
COMMENT ON COLUMN billing.receipt_corrections.amount_usd IS 'Added to charged_usd of the receipt.';
COMMENT ON COLUMN billing.receipt_corrections.amount_credits IS 'Added to its charged_credits: with its corrections, these are rounded up once.';
COMMENT ON COLUMN billing.receipt_corrections.corrected_usd IS 'What the receipt charges behind this correction.';
COMMENT ON COLUMN billing.receipt_corrections.reference IS 'The idempotency key of whoever corrects.';

-- They wait with the events of accounts, and the same process publishes them.
ALTER TABLE billing.credit_events
    ALTER COLUMN kind DROP NOT NULL,
    ALTER COLUMN balance DROP NOT NULL,
    ALTER COLUMN held DROP NOT NULL,
    ADD COLUMN correction_id uuid,
    DROP CONSTRAINT credit_events_type_check,
    ADD CONSTRAINT credit_events_type_check CHECK (
        type IN ('threshold_crossed', 'exhausted', 'topped_up', 'hold_expired', 'corrected')
    ),
    ADD CONSTRAINT of_an_account_or_a_correction CHECK (
        CASE type
            WHEN 'corrected' THEN correction_id IS NOT NULL
            ELSE correction_id IS NULL AND kind IS NOT NULL AND balance IS NOT NULL AND held IS NOT NULL
        END
    );
COMMENT ON TABLE billing.credit_events IS 'What other teams are told of accounts and of corrections, until it is published.';

-- As in 0012, and a row for each correction, on the day on which it was made: a month that is closed
-- stays as it is. It is no call: no cost and no tokens, and its cost_source is `correction`.
CREATE OR REPLACE VIEW billing.spend AS
SELECT
    (coalesce(receipt.started_at, receipt.occurred_at) AT TIME ZONE 'UTC')::date AS day,
    coalesce(receipt.started_at, receipt.occurred_at) AS started_at,
    receipt.occurred_at AS ended_at,
    receipt.billing_account_id AS account, receipt.team_id, receipt.team_alias, receipt.key_hash,
    receipt.key_alias, receipt.user_id, receipt.organization_id, receipt.model, receipt.provider,
    receipt.call_type, receipt.run_id, receipt.attempt, receipt.graph_id, receipt.sub_agent_id, receipt.parent_sub_agent_id,
    receipt.tool_call_id, receipt.tags, receipt.charge_reason, receipt.cost_source, receipt.marks,
    receipt.tokens_in, receipt.tokens_out, receipt.tokens_cached_in, receipt.tokens_reasoning,
    receipt.response_cost_usd, receipt.charged_usd, receipt.charged_credits,
    receipt.id AS receipt_id, receipt.source_system, receipt.call_key, receipt.litellm_call_id,
    receipt.response_id, receipt.created_at
FROM billing.detailed_receipts AS receipt
UNION ALL
SELECT
    (correction.created_at AT TIME ZONE 'UTC')::date, correction.created_at, correction.created_at,
    receipt.billing_account_id, receipt.team_id, receipt.team_alias, receipt.key_hash,
    receipt.key_alias, receipt.user_id, receipt.organization_id, receipt.model, receipt.provider,
    receipt.call_type, receipt.run_id, receipt.attempt, receipt.graph_id, receipt.sub_agent_id, receipt.parent_sub_agent_id,
    receipt.tool_call_id, receipt.tags, correction.reason, 'correction', receipt.marks,
    NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint,
    0::numeric, correction.amount_usd, correction.amount_credits,
    receipt.id, receipt.source_system, receipt.call_key, receipt.litellm_call_id,
    receipt.response_id, correction.created_at
FROM billing.receipt_corrections AS correction
JOIN billing.detailed_receipts AS receipt ON receipt.id = correction.charge_receipt_id;
COMMENT ON VIEW billing.spend IS 'A row for each receipt and for each correction, in the words of billing spend: docs/finance.md says what each column is.';

-- As in 0014, with the receipt of a correction.
CREATE OR REPLACE VIEW billing.credit_ledger AS
SELECT
    entry.id AS entry_id, entry.billing_account_id, entry.reason,
    coalesce(receipt.id::text, entry.reference) AS reference,
    coalesce(-receipt.charged_credits, entry.amount) AS amount,
    coalesce(receipt.id, corrected.id) AS charge_receipt_id,
    coalesce(receipt.run_id, corrected.run_id) AS run_id,
    coalesce(receipt.model, corrected.model) AS model, entry.person, entry.note,
    coalesce(receipt.occurred_at, entry.created_at) AS occurred_at, entry.created_at
FROM billing.credit_entries AS entry
LEFT JOIN billing.charge_receipts AS receipt
    ON receipt.credit_batch = entry.batch AND receipt.billing_account_id = entry.billing_account_id
LEFT JOIN billing.receipt_corrections AS correction
    ON entry.reason = 'correction' AND correction.id::text = entry.reference
LEFT JOIN billing.charge_receipts AS corrected ON corrected.id = correction.charge_receipt_id;

GRANT SELECT ON billing.receipt_corrections TO billing_consumer, billing_guard, billing_reader;
GRANT INSERT ON billing.receipt_corrections TO billing_consumer;
