"""Upgrades: the schema and the members change, one after the other, while there is load.

CHAOS_LAST_RELEASE names a tree with the code of the release before, such as `git archive` gives.
Without one, members of this release work on while the newest migration that they can do without is
applied beside them, and those after it once more.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.chaos.fault import Fault
from tests.chaos.fleet import ROOT, Fleet
from tests.databases.former_schema import NEEDED, SINCE_RELEASE, UNDO, take_back
from tests.waiting import NET_SECONDS, eventually

LAST_RELEASE: Final = os.environ.get("CHAOS_LAST_RELEASE", "")


def migrate(fleet: Fleet) -> None:
    """What the chart's job runs before an upgrade: once, and it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "migrate"],
        env=fleet.environment,
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=NET_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def roll(fleet: Fleet, chance: random.Random) -> None:
    """Members are replaced one by one by those of this release."""
    for number, old in enumerate(fleet.members):
        old.stop()
        time.sleep(chance.uniform(0, 0.5))
        fleet.members[number] = fleet.member_with(number)
        fleet.members[number].start()
        eventually(fleet.members[number].is_ready, "the new member to be ready")


def migrate_under_load(fleet: Fleet, chance: random.Random) -> None:
    """The newest migrations meet members that write; then they are replaced."""
    take_back(fleet.postgres.url, max(UNDO.keys() - NEEDED), kept=NEEDED)
    time.sleep(chance.uniform(0.2, 1))
    migrate(fleet)
    roll(fleet, chance)


def upgrade(fleet: Fleet, chance: random.Random) -> None:
    """Members of the last release work on its schema; it is migrated under them; they go.

    There is no spend guard on the schema of a release that knows no credits.
    """
    for process in (fleet.guard, *fleet.members):
        process.stop()
    take_back(fleet.postgres.url, SINCE_RELEASE)
    for number in range(len(fleet.members)):
        fleet.members[number] = fleet.member_with(number, Path(LAST_RELEASE))
        fleet.members[number].start()
    for member in fleet.members:
        eventually(member.is_ready, "members of the last release")
    time.sleep(chance.uniform(0.5, 1.5))
    migrate(fleet)
    fleet.guard.start()
    time.sleep(chance.uniform(0.5, 1.5))
    roll(fleet, chance)
    # What only members of the last release used is dropped when they are gone.
    migrate(fleet)


UPGRADE_FAULTS: Final[Mapping[str, Fault]] = {
    "migration under load, members replaced": Fault(migrate_under_load),
    **({"upgrade from the last release": Fault(upgrade, forgets=True)} if LAST_RELEASE else {}),
}
