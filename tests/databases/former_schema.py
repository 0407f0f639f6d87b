"""The schema as earlier releases knew it: what takes back the migrations since the last one."""

import contextlib
from collections.abc import Collection
from typing import Final

import psycopg
from psycopg.errors import DeadlockDetected

from tests.waiting import eventually

UNDO: Final = {
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

NEEDED: Final = frozenset({"0009"})
"""Those without which members of this release do not write. Each may be applied over itself."""


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
