-- How a deferral ends: charging.settlement has the table of what may become of it. Whoever changes a
-- resolution, members of the release before among them, has it recorded here, or is refused.

SET LOCAL lock_timeout = '2s';

ALTER TABLE billing.deferred_calls ADD COLUMN callback bytea, ADD COLUMN received_at timestamptz;

CREATE FUNCTION billing.deferral_state(resolution text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN resolution IS NULL THEN 'open'
        WHEN resolution IN ('waived', 'no_charge') THEN 'written_off'
        WHEN resolution IN ('reopened', 'upheld') THEN resolution
        ELSE 'settled'
    END
$$;

CREATE FUNCTION billing.resolution_of(cost_source text) RETURNS text LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE cost_source
        WHEN 'operator' THEN 'settled'
        WHEN 'cost_breakdown' THEN 'cost_breakdown'
        WHEN 'litellm_spend_log' THEN 'spend_log'
        ELSE 'callback'
    END
$$;

CREATE TABLE billing.deferral_transitions (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deferral_id   bigint      NOT NULL,
    source_system text        NOT NULL,
    call_key      text        NOT NULL,
    from_state    text        NOT NULL,
    to_state      text        NOT NULL,
    resolution    text        NOT NULL,
    person        text,
    note          text,
    application   text        NOT NULL,
    moved_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT transition_is_allowed CHECK (
        from_state || ' ' || resolution IN (
            'open callback',
            'open spend_log',
            'open cost_breakdown',
            'open settled',
            'open result',
            'open no_charge',
            'open waived',
            'written_off reopened',
            'reopened accepted',
            'reopened upheld'
        )
    )
);
CREATE INDEX deferral_transitions_deferral ON billing.deferral_transitions (deferral_id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON billing.deferral_transitions
FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_change();

-- With the rights of whoever changes the deferral. A deferral that is reopened keeps who had waived it
-- until a person decides; that person is none of this transition's.
CREATE FUNCTION billing.record_transitions() RETURNS trigger LANGUAGE plpgsql AS $$
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
END $$;

CREATE TRIGGER record_births AFTER INSERT ON billing.deferred_calls
REFERENCING NEW TABLE AS moved
FOR EACH STATEMENT EXECUTE FUNCTION billing.record_transitions();
CREATE TRIGGER record_moves AFTER UPDATE ON billing.deferred_calls
REFERENCING OLD TABLE AS former NEW TABLE AS moved
FOR EACH STATEMENT EXECUTE FUNCTION billing.record_transitions();

-- Few at any time: their calls have receipts, so they are no open deferrals.
CREATE INDEX deferred_calls_reopened ON billing.deferred_calls (resolved_at)
WHERE resolution = 'reopened';

ALTER TABLE billing.reconciler_findings
    DROP CONSTRAINT reconciler_findings_verdict_check,
    ADD CONSTRAINT reconciler_findings_verdict_check CHECK (
        verdict IN ('missing', 'priced', 'differs', 'unidentified', 'elsewhere', 'unreadable')
    );

COMMENT ON COLUMN billing.deferred_calls.callback IS 'The fields that billing reads of it, for a settlement when the topic has forgotten it; no content. NULL before 0015, and where it is large.';
COMMENT ON COLUMN billing.deferred_calls.received_at IS 'When the gateway took the callback; NULL where it is not kept.';
COMMENT ON TABLE billing.deferral_transitions IS 'What became of deferred calls, one row a step: by whom, and when. Append-only.';
COMMENT ON COLUMN billing.deferral_transitions.person IS 'Who decided it; NULL where a charge did.';
COMMENT ON COLUMN billing.deferral_transitions.application IS 'Which process wrote it.';

GRANT SELECT ON billing.deferral_transitions TO billing_consumer, billing_reader;
GRANT INSERT ON billing.deferral_transitions TO billing_consumer;
