"""Faults under load on real Apache Kafka and PostgreSQL: nothing lost, doubled or kept secret.

By itself this injects `A_RUN`: one of each kind that takes seconds. `make chaos` injects
CHAOS_FAULTS=500 of all of them and writes docs/reliability.md. The seed is printed; CHAOS_SEED
repeats a schedule, CHAOS_ONLY takes the faults whose name holds one of its texts; CHAOS_TALLY
names a file for the counts of a run (`tests.chaos.matrix`).
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.brokers.broker import missing_for_apache
from tests.chaos.faults import FAULTS
from tests.chaos.fleet import Fleet
from tests.chaos.matrix import Run, write_matrix
from tests.chaos.rounds import Rounds
from tests.chaos.watchman import Watchman

SEED: Final = int(os.environ.get("CHAOS_SEED", "20261122"))
COUNT: Final = int(os.environ.get("CHAOS_FAULTS", "0"))
ONLY: Final = os.environ.get("CHAOS_ONLY", "").split(",")
MATRIX: Final = os.environ.get("CHAOS_MATRIX")
TALLY: Final = os.environ.get("CHAOS_TALLY")
A_RUN: Final = (
    "consumer killed during kafka commit",
    "gateway killed in mid-request",
    "spool's disk full",
    "broker killed and restarted",
    "broker slow",
    "leaders moved",
    "broker cut off from its peers",
    "consumer frozen past its session",
    "database killed and restarted",
    "standby that was behind promoted",
    "database's disk full",
    "pooler killed and restarted",
    "spend guard killed while the database is silent",
    "consumer's clock a day back and ahead",
    "migration under load, members replaced",
)
"""One of each kind; a kind's others take longer, or have a test of their own in another ring."""


def wanted(name: str) -> bool:
    """Whether CHAOS_ONLY takes a fault."""
    return any(text.strip() in name for text in ONLY)


def schedule(seed: int, count: int) -> list[str]:
    """`A_RUN`; for a count, every fault as often as every other, in an order of the seed."""
    if not count:
        return [name for name in A_RUN if wanted(name)]
    names = list(filter(wanted, FAULTS))
    drawn = [names[index % len(names)] for index in range(count)]
    random.Random(seed).shuffle(drawn)  # noqa: S311 - a schedule, no secret
    return drawn


@pytest.fixture(scope="module")
def rounds(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rounds]:
    """Everything that can be hurt, and who looks at it."""
    print(f"seed {SEED}")
    with (
        Watchman(fleet, tmp_path_factory.mktemp("prometheus")) as watchman,
        Rounds(fleet, watchman, SEED) as rounds,
    ):
        yield rounds


@pytest.fixture(scope="module")
def hurt_by() -> list[str]:
    """The fault that the fleet has not come through: after that every round waits in vain."""
    return []


@pytest.mark.skipif(bool(missing_for_apache()), reason=str(missing_for_apache()))
@pytest.mark.parametrize(
    ("number", "name"),
    [
        pytest.param(number, name, id=f"{number}-{name}")
        for number, name in enumerate(schedule(SEED, COUNT), 1)
    ],
)
def test_ACCEPTED_IS_DURABLE_and_RECEIPTS_PUBLISHED_EXACTLY_ONCE_under_faults(
    rounds: Rounds, hurt_by: list[str], number: int, name: str
) -> None:
    if hurt_by:
        pytest.fail(f"not injected: the fleet has not come through {hurt_by[0]}")
    hurt_by.append(name)
    audit = rounds.run(name)
    asked = dict(sorted(rounds.guarded.answers.items()))
    print(f"{number} {name}: {rounds.tallies[name].recovery[-1]:.1f} s, asked {asked}", flush=True)
    run = Run(SEED, rounds.tallies)
    if TALLY:
        Path(TALLY).write_bytes(msgspec.json.encode(run))
    if MATRIX:
        write_matrix(Path(MATRIX), [run])
    assert audit.clean, f"seed {SEED}, fault {number} ({name}): {audit}"
    hurt_by.clear()
