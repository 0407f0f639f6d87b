"""The schema as earlier releases knew it: what takes back the migrations since the last one."""

import contextlib
from collections.abc import Collection
from typing import Final

import psycopg
from psycopg.errors import DeadlockDetected

from ledger.migration import migrations
from tests.waiting import eventually

_DETAILS: Final = (
    "provider_call_id, model, provider_model, provider, call_type, stream, tokens_in, tokens_out,"
    " tokens_cached_in, tokens_reasoning, latency_ms, ttft_ms, graph_id, sub_agent_id,"
    " parent_sub_agent_id, tool_call_id, tags, saved_cache_cost"
)
_OF_CALLERS: Final = (
    "started_at, team_id, team_alias, key_alias, key_hash, user_id, organization_id"
)
_VIEWS: Final = migrations()["0010"].partition("END $$;\n")[2]
"""The views that 0010 makes, behind its change of the tables."""
_SPEND: Final = (
    "CREATE OR REPLACE VIEW billing.spend AS"
    + migrations()["0012"]
    .partition("CREATE OR REPLACE VIEW billing.spend AS")[2]
    .partition("-- The calls of an account or of a team")[0]
)
"""The view as it was before 0016, with its rights and what is said of it."""
_CREDIT_LEDGER: Final = (
    "CREATE OR REPLACE VIEW billing.credit_ledger AS"
    + migrations()["0014"].partition("CREATE VIEW billing.credit_ledger AS")[2].partition(";")[0]
    + ";"
)
_OF_DEFERRED: Final = f"{_OF_CALLERS}, billing_account_id, sub_agent_id, parent_sub_agent_id, tags"


def _dropped(columns: str) -> str:
    return ", ".join(f"DROP COLUMN {one}" for one in columns.split(", "))


UNDO: Final = {
    "0019": """
ALTER TABLE billing.charge_receipts
    ADD CONSTRAINT one_receipt_per_call UNIQUE (source_system, call_key);
CREATE INDEX charge_receipts_litellm_call_id ON billing.charge_receipts (litellm_call_id);
CREATE INDEX charge_receipts_response_id ON billing.charge_receipts (response_id);
""",
    "0018": """
DROP TRIGGER note_changed_runs ON billing.charge_receipts;
DROP TRIGGER note_changed_runs ON billing.usage_units;
DROP TRIGGER note_deferred_runs ON billing.deferred_calls;
DROP TRIGGER note_resolved_runs ON billing.deferred_calls;
DROP FUNCTION billing.note_changed_runs;
ALTER TABLE billing.credit_events
    DROP CONSTRAINT of_one_thing,
    ADD CONSTRAINT of_one_thing CHECK (
        (type = 'corrected') = (correction_id IS NOT NULL)
        AND (type = 'checkpoint') = (checkpoint IS NOT NULL)
        AND (type = 'checkpoint' OR billing_account_id IS NOT NULL)
        AND (
            type IN ('corrected', 'checkpoint')
            OR (kind IS NOT NULL AND balance IS NOT NULL AND held IS NOT NULL)
        )
    ),
    DROP CONSTRAINT credit_events_type_check,
    ADD CONSTRAINT credit_events_type_check CHECK (
        type IN (
            'threshold_crossed', 'exhausted', 'topped_up', 'hold_expired', 'corrected', 'checkpoint'
        )
    ),
    DROP COLUMN run_total;
DROP TABLE billing.run_totals, billing.completed_runs;
DROP VIEW billing.unmatched_units;
ALTER TABLE billing.usage_units DROP COLUMN run_completed;
""",
    "0017": """
ALTER TABLE billing.credit_events
    DROP CONSTRAINT of_one_thing,
    ADD CONSTRAINT of_an_account_or_a_correction CHECK (
        CASE type
            WHEN 'corrected' THEN correction_id IS NOT NULL
            ELSE
                correction_id IS NULL AND kind IS NOT NULL
                AND balance IS NOT NULL AND held IS NOT NULL
        END
    ),
    DROP CONSTRAINT credit_events_type_check,
    ADD CONSTRAINT credit_events_type_check CHECK (
        type IN ('threshold_crossed', 'exhausted', 'topped_up', 'hold_expired', 'corrected')
    ),
    DROP COLUMN checkpoint,
    ALTER COLUMN billing_account_id SET NOT NULL;
DROP TABLE billing.sealed, billing.checkpoints, billing.seals;
""",
    "0016": f"""
ALTER TABLE billing.credit_events
    DROP CONSTRAINT of_an_account_or_a_correction,
    DROP CONSTRAINT credit_events_type_check,
    ADD CONSTRAINT credit_events_type_check
    CHECK (type IN ('threshold_crossed', 'exhausted', 'topped_up', 'hold_expired')),
    DROP COLUMN correction_id,
    ALTER COLUMN kind SET NOT NULL,
    ALTER COLUMN balance SET NOT NULL,
    ALTER COLUMN held SET NOT NULL;
DROP VIEW billing.spend;
{_SPEND}
{_CREDIT_LEDGER}
DROP TABLE billing.receipt_corrections;
""",
    "0015": """
DROP TRIGGER record_births ON billing.deferred_calls;
DROP TRIGGER record_moves ON billing.deferred_calls;
DROP INDEX billing.deferred_calls_reopened;
DROP TABLE billing.deferral_transitions;
DROP FUNCTION billing.record_transitions, billing.deferral_state, billing.resolution_of;
ALTER TABLE billing.deferred_calls DROP COLUMN callback, DROP COLUMN received_at;
ALTER TABLE billing.reconciler_findings
    DROP CONSTRAINT reconciler_findings_verdict_check,
    ADD CONSTRAINT reconciler_findings_verdict_check
    CHECK (verdict IN ('missing', 'differs', 'unidentified', 'elsewhere', 'unreadable'));
""",
    "0014": """
DROP VIEW billing.credit_ledger;
DROP TABLE billing.credit_holds, billing.credit_entries, billing.credit_accounts,
    billing.credit_events, billing.credit_event_publisher, billing.credit_limits;
REVOKE ALL ON ALL TABLES IN SCHEMA billing FROM billing_guard;
REVOKE ALL ON SCHEMA billing FROM billing_guard;
""",
    "0013": """
DROP TABLE billing.reconciler_cursors, billing.reconciler_findings;
REVOKE ALL ON ALL TABLES IN SCHEMA billing FROM billing_reconciler;
REVOKE ALL ON SCHEMA billing FROM billing_reconciler;
""",
    "0012": f"""
DROP VIEW billing.spend, billing.llm_charge_details, billing.detailed_receipts,
    billing.open_deferrals;
DROP INDEX billing.charge_receipts_account_day, billing.charge_receipts_team_day,
    billing.charge_receipts_days;
ALTER TABLE billing.charge_receipts {_dropped(_OF_CALLERS)}, DROP COLUMN credit_batch;
ALTER TABLE billing.deferred_calls {_dropped(_OF_DEFERRED)};
ALTER TABLE billing.usage_units DROP COLUMN billing_account_id;
{_VIEWS}
""",
    "0011": """
DROP INDEX billing.charge_receipts_litellm_call_hash, billing.charge_receipts_response_hash,
    billing.charge_receipts_other_sources, billing.deferred_calls_litellm_call_id,
    billing.deferred_calls_response_id;
""",
    "0010": f"""
INSERT INTO billing.former_charge_details (charge_receipt_id, {_DETAILS})
SELECT id, {_DETAILS} FROM billing.charge_receipts WHERE stream IS NOT NULL;
DROP VIEW billing.llm_charge_details, billing.detailed_receipts, billing.open_deferrals;
DROP FUNCTION billing.keep_former_details, billing.offset_in_topic;
ALTER TABLE billing.former_charge_details RENAME TO llm_charge_details;
DO $$
DECLARE
    named text;
BEGIN
    FOR named IN SELECT conname FROM pg_constraint
        WHERE conrelid = 'billing.llm_charge_details'::regclass AND conname LIKE 'former%'
    LOOP
        EXECUTE format('ALTER TABLE billing.llm_charge_details RENAME CONSTRAINT %I TO %I',
            named, replace(named, 'former_charge', 'llm_charge'));
    END LOOP;
END $$;
ALTER TABLE billing.llm_charge_details ADD CONSTRAINT llm_charge_details_charge_receipt_id_fkey
    FOREIGN KEY (charge_receipt_id) REFERENCES billing.charge_receipts (id);
ALTER TABLE billing.charge_receipts {_dropped(_DETAILS)};
ALTER TABLE billing.deferred_calls DROP COLUMN receipt_id;
{migrations()["0009"]}
""",  # noqa: S608 - our names
    "0009": """
DROP VIEW billing.open_deferrals;
DROP FUNCTION billing.offset_in_topic;
""",
    "0008": """
ALTER TABLE billing.charge_receipts
    DROP CONSTRAINT response_cost_usd_is_finite, DROP CONSTRAINT charged_usd_is_finite;
ALTER TABLE billing.llm_charge_details DROP CONSTRAINT saved_cache_cost_is_finite;
ALTER TABLE billing.deferred_calls DROP CONSTRAINT suggested_cost_usd_is_finite;
ALTER TABLE billing.receipt_conflicts DROP CONSTRAINT response_cost_usd_is_finite;
""",
    "0007": """
ALTER TABLE billing.published_offsets
    DROP COLUMN published_offset, DROP COLUMN after_batch_at, DROP COLUMN topic_since;
DROP TABLE billing.lost_records;
ALTER TABLE billing.deferred_calls DROP COLUMN kafka_topic_id;
""",
    "0006": """
ALTER TABLE billing.deferred_calls
    DROP COLUMN link, DROP COLUMN held, DROP COLUMN result_key,
    DROP CONSTRAINT deferred_calls_reason_check;
""",
    "0005": """
ALTER TABLE billing.deferred_calls DROP COLUMN sent_cost, ADD CONSTRAINT deferred_calls_reason_check
    CHECK (reason IN ('suspicious_zero', 'missing_cost'));
""",
}
"""What takes each migration back, the newest first, where nothing of what it brought is in use."""

SINCE_RELEASE: Final = "0010"
"""The first migration that the last release, 0.2.0, does not know."""

NEEDED: Final = frozenset({"0009", "0010", "0012", "0014", "0015"})
"""Those without which members of this release do not write. The first three may be applied
over themselves."""


def take_back(url: str, oldest: str, kept: Collection[str] = ()) -> None:
    """Make the schema what it was before the migration `oldest`, in one transaction.

    What the `kept` ones brought stays, although they count as not applied.
    """
    undo = "".join(
        statements
        for revision, statements in UNDO.items()
        if revision >= oldest and revision not in kept
    )
    before = f"{int(oldest) - 1:04}"

    def taken_back() -> bool:
        # Consumers that write take the tables in another order.
        with contextlib.suppress(DeadlockDetected), psycopg.connect(url) as connection:
            connection.execute(undo.encode())
            connection.execute("UPDATE billing.schema_migrations SET version_num = %s", [before])
            return True
        return False

    eventually(taken_back, f"the schema as of {before}")
