"""What can happen to a spend guard, while calls are asked about."""

import random
import time
from collections.abc import Mapping
from typing import Final

from tests.chaos.fault import Fault
from tests.chaos.fleet import Fleet
from tests.chaos.guarded import GUARD_LINK

AWAY_SECONDS: Final = (0.0, 3.0)
FROZEN_SECONDS: Final = (4.0, 7.0)
"""Longer than Prometheus waits for an answer."""
CUT_SECONDS: Final = (3.0, 6.0)
SILENT_SECONDS: Final = (3.0, 8.0)
"""PostgreSQL ends a transaction of the guard's that it hears nothing of for five."""


def kill(fleet: Fleet, chance: random.Random) -> None:
    """SIGKILL at any instruction: whatever was asked has no answer."""
    time.sleep(chance.uniform(0, 0.5))
    fleet.guard.kill()
    time.sleep(chance.uniform(*AWAY_SECONDS))
    fleet.guard.start()


def stop(fleet: Fleet, chance: random.Random) -> None:
    """SIGTERM: what is in hand is answered."""
    time.sleep(chance.uniform(0, 0.5))
    fleet.guard.stop()
    time.sleep(chance.uniform(*AWAY_SECONDS))
    fleet.guard.start()


def freeze(fleet: Fleet, chance: random.Random) -> None:
    """It stands still with connections open, then goes on with what it had in hand."""
    fleet.guard.suspend()
    try:
        time.sleep(chance.uniform(*FROZEN_SECONDS))
    finally:
        fleet.guard.resume()


def cut(fleet: Fleet, chance: random.Random) -> None:
    """Its connections to PostgreSQL are reset and new ones refused."""
    fleet.links.cut([GUARD_LINK])
    try:
        time.sleep(chance.uniform(*CUT_SECONDS))
    finally:
        fleet.links.open()


def silence(fleet: Fleet, chance: random.Random) -> None:
    """Nothing passes between it and PostgreSQL; what was on its way arrives late."""
    fleet.links.silence([GUARD_LINK])
    try:
        time.sleep(chance.uniform(*SILENT_SECONDS))
    finally:
        fleet.links.open()


def kill_while_silent(fleet: Fleet, chance: random.Random) -> None:
    """It dies while PostgreSQL waits for the end of its transactions; a new one takes its place."""
    fleet.links.silence([GUARD_LINK])
    try:
        time.sleep(chance.uniform(0.2, 2))
        fleet.guard.kill()
    finally:
        fleet.links.open()
    fleet.guard.start()


GUARD_FAULTS: Final[Mapping[str, Fault]] = {
    "spend guard killed": Fault(kill),
    "spend guard stopped": Fault(stop),
    "spend guard frozen": Fault(freeze, alerts=frozenset({"BillingSpendGuardDown"})),
    "spend guard cut off from the database": Fault(cut, missing={"spend_guard": "postgresql"}),
    "spend guard and database silent to each other": Fault(silence),
    "spend guard killed while the database is silent": Fault(kill_while_silent),
}
