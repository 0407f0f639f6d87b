"""Upgrades: the schema and the members change, one after the other, while there is load.

CHAOS_LAST_RELEASE names a tree with the code of the release before, such as `git archive` gives.
Without one, members of this release work on while the newest migration is applied beside them.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psycopg

from tests.chaos.fault import Fault
from tests.chaos.fleet import ROOT, Fleet
from tests.services.waiting import NET_SECONDS, eventually

LAST_RELEASE: Final = os.environ.get("CHAOS_LAST_RELEASE", "")
UNDO: Final = {
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
"""What takes each migration back; nothing of what it brought is in use by the calls made here."""


def take_back(fleet: Fleet, oldest: str) -> None:
    """Make the schema what it was before the migration `oldest`."""
    undo = "".join(sql for revision, sql in UNDO.items() if revision >= oldest)
    with psycopg.connect(fleet.postgres.url) as connection:
        connection.execute(undo.encode())
        connection.execute(
            "UPDATE billing.schema_migrations SET version_num = %s", [f"{int(oldest) - 1:04}"]
        )


def migrate(fleet: Fleet) -> None:
    """What the chart's job runs before an upgrade."""
    subprocess.run(
        [sys.executable, "-m", "consumer", "migrate"],
        env=fleet.environment,
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=NET_SECONDS,
    )


def roll(fleet: Fleet, chance: random.Random) -> None:
    """Members are replaced one by one by those of this release."""
    for number, old in enumerate(fleet.members):
        old.stop()
        time.sleep(chance.uniform(0, 0.5))
        fleet.members[number] = fleet.member_with(number)
        fleet.members[number].start()
        eventually(fleet.members[number].is_ready, "the new member to be ready")


def migrate_under_load(fleet: Fleet, chance: random.Random) -> None:
    """The newest migration meets members that write; then they are replaced."""
    take_back(fleet, max(UNDO))
    time.sleep(chance.uniform(0.2, 1))
    migrate(fleet)
    roll(fleet, chance)


def upgrade(fleet: Fleet, chance: random.Random) -> None:
    """Members of the last release work on its schema; it is migrated under them; they go."""
    for member in fleet.members:
        member.stop()
    take_back(fleet, min(UNDO))
    for number in range(len(fleet.members)):
        fleet.members[number] = fleet.member_with(number, Path(LAST_RELEASE))
        fleet.members[number].start()
    for member in fleet.members:
        eventually(member.is_ready, "members of the last release")
    time.sleep(chance.uniform(0.5, 1.5))
    migrate(fleet)
    time.sleep(chance.uniform(0.5, 1.5))
    roll(fleet, chance)


UPGRADE_FAULTS: Final[Mapping[str, Fault]] = {
    "migration under load, members replaced": Fault(migrate_under_load),
    **({"upgrade from the last release": Fault(upgrade)} if LAST_RELEASE else {}),
}
