-- Runs that have ended, and what other teams were told of their cost. See docs/decisions/0033.

SET LOCAL lock_timeout = '2s';

ALTER TABLE billing.usage_units ADD COLUMN run_completed boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN billing.usage_units.run_completed IS 'It says that the run has ended, and is of no call.';

-- One that says that its run has ended is of no call, nor is one that names none and says who pays for the run.
CREATE VIEW billing.unmatched_units AS
SELECT
    unit.unit_id, unit.run_id, unit.attempt, unit.litellm_call_id, unit.response_id, unit.executor, unit.model,
    unit.finished_at
FROM billing.usage_units AS unit
WHERE NOT unit.run_completed
    AND (unit.billing_account_id IS NULL OR unit.litellm_call_id IS NOT NULL OR unit.response_id IS NOT NULL)
    AND NOT EXISTS (
        SELECT FROM billing.charge_receipts AS receipt
        WHERE hashtextextended(receipt.litellm_call_id, 0) = hashtextextended(unit.litellm_call_id, 0)
            AND receipt.litellm_call_id = unit.litellm_call_id
    )
    AND NOT EXISTS (
        SELECT FROM billing.charge_receipts AS receipt
        WHERE hashtextextended(receipt.response_id, 0) = hashtextextended(unit.response_id, 0)
            AND receipt.response_id = unit.response_id
    )
    AND NOT EXISTS (
        SELECT FROM billing.deferred_calls AS deferred WHERE deferred.litellm_call_id = unit.litellm_call_id
    )
    AND NOT EXISTS (
        SELECT FROM billing.deferred_calls AS deferred WHERE deferred.response_id = unit.response_id
    );
COMMENT ON VIEW billing.unmatched_units IS 'What executors say they called and neither a receipt nor a deferral knows of.';

CREATE TABLE billing.completed_runs (
    run_id       text        PRIMARY KEY,
    completed_at timestamptz NOT NULL,
    known_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    revision     integer     NOT NULL DEFAULT 0 CHECK (revision >= 0),
    due_at       timestamptz
);
CREATE INDEX completed_runs_due ON billing.completed_runs (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE billing.run_totals (
    id              uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    run_id          text        NOT NULL,
    revision        integer     NOT NULL CHECK (revision > 0),
    completed_at    timestamptz NOT NULL,
    calls           bigint      NOT NULL CHECK (calls >= 0),
    corrections     bigint      NOT NULL CHECK (corrections >= 0),
    charged_usd     numeric     NOT NULL CONSTRAINT charged_usd_is_no_debt
        CHECK (charged_usd < 'Infinity' AND charged_usd >= 0),
    charged_credits bigint      NOT NULL,
    open_calls      bigint      NOT NULL CHECK (open_calls >= 0),
    open            jsonb       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT one_total_per_revision UNIQUE (run_id, revision)
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.run_totals
FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

COMMENT ON TABLE billing.completed_runs IS 'Runs that executors say have ended.';
COMMENT ON COLUMN billing.completed_runs.completed_at IS 'When the run ended, by the executor''s clock.';
COMMENT ON COLUMN billing.completed_runs.known_at IS 'When this ledger was told so last.';
COMMENT ON COLUMN billing.completed_runs.revision IS 'Of the last total; 0 where there is none.';
COMMENT ON COLUMN billing.completed_runs.due_at IS 'When to look what it has cost; NULL until something changes. Like known_at until the first look.';
COMMENT ON TABLE billing.run_totals IS 'What other teams were told that a run has cost; the highest revision counts. Append-only.';
COMMENT ON COLUMN billing.run_totals.open IS 'The first hundred of its calls without a receipt.';

-- With the rights of whoever writes what changes a run's cost. The lock makes whoever sums the run up wait
-- for this transaction, or be seen by it: without it a receipt could come between the sum and its end.
CREATE FUNCTION billing.note_changed_runs() RETURNS trigger LANGUAGE plpgsql AS $$
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
END $$;

CREATE TRIGGER note_changed_runs AFTER INSERT ON billing.charge_receipts
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION billing.note_changed_runs();
CREATE TRIGGER note_changed_runs AFTER INSERT ON billing.usage_units
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION billing.note_changed_runs();
CREATE TRIGGER note_deferred_runs AFTER INSERT ON billing.deferred_calls
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION billing.note_changed_runs();
CREATE TRIGGER note_resolved_runs AFTER UPDATE ON billing.deferred_calls
REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION billing.note_changed_runs();

-- They wait with the events of accounts, and the same process publishes them.
ALTER TABLE billing.credit_events
    ADD COLUMN run_total uuid,
    DROP CONSTRAINT credit_events_type_check,
    ADD CONSTRAINT credit_events_type_check CHECK (
        type IN (
            'threshold_crossed', 'exhausted', 'topped_up', 'hold_expired', 'corrected', 'checkpoint', 'run_settled'
        )
    ),
    DROP CONSTRAINT of_one_thing,
    ADD CONSTRAINT of_one_thing CHECK (
        (type = 'corrected') = (correction_id IS NOT NULL)
        AND (type = 'checkpoint') = (checkpoint IS NOT NULL)
        AND (type = 'run_settled') = (run_total IS NOT NULL)
        AND (type IN ('checkpoint', 'run_settled') OR billing_account_id IS NOT NULL)
        AND (
            type IN ('corrected', 'checkpoint', 'run_settled')
            OR (kind IS NOT NULL AND balance IS NOT NULL AND held IS NOT NULL)
        )
    );
COMMENT ON TABLE billing.credit_events IS 'What other teams are told of accounts, of corrections, of checkpoints and of runs, until it is published.';

GRANT SELECT ON billing.completed_runs, billing.run_totals TO billing_consumer, billing_reader;
GRANT INSERT ON billing.completed_runs, billing.run_totals TO billing_consumer;
GRANT UPDATE (completed_at, known_at, revision, due_at) ON billing.completed_runs TO billing_consumer;
GRANT SELECT ON billing.unmatched_units TO billing_consumer, billing_reader, billing_reconciler;
