"""Faults under load on real Apache Kafka and PostgreSQL: nothing lost, nothing doubled.

`make chaos` injects CHAOS_FAULTS=500 and writes docs/reliability.md; by itself, this injects six.
The seed is printed; CHAOS_SEED repeats a schedule, CHAOS_ONLY takes the faults
whose name holds it; CHAOS_TALLY names a file for the counts of a run (`tests.chaos.matrix`).
"""

import os
import random
from pathlib import Path

import msgspec
import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.fleet import Fleet
from tests.chaos.matrix import Run, write_matrix
from tests.chaos.rounds import Rounds
from tests.services.broker import missing_for_apache

SEED = int(os.environ.get("CHAOS_SEED", "20261122"))
COUNT = int(os.environ.get("CHAOS_FAULTS", "6"))
SECONDS_A_FAULT = 240
ONLY = os.environ.get("CHAOS_ONLY", "")
MATRIX = os.environ.get("CHAOS_MATRIX")
TALLY = os.environ.get("CHAOS_TALLY")


def schedule(seed: int, count: int) -> list[str]:
    """Every fault as often as every other, in an order that the seed decides."""
    names = [name for name in FAULTS if ONLY in name]
    drawn = [names[index % len(names)] for index in range(count)]
    random.Random(seed).shuffle(drawn)  # noqa: S311 - a schedule, no secret
    return drawn


@pytest.mark.skipif(bool(missing_for_apache()), reason=str(missing_for_apache()))
@pytest.mark.timeout(COUNT * SECONDS_A_FAULT)
def test_ACCEPTED_IS_DURABLE_and_RECEIPTS_PUBLISHED_EXACTLY_ONCE_under_faults(
    fleet: Fleet,
) -> None:
    print(f"seed {SEED}, {COUNT} faults")
    with Rounds(fleet, SEED) as rounds:
        for number, name in enumerate(schedule(SEED, COUNT), 1):
            audit = rounds.run(name)
            recovery = rounds.tallies[name].recovery[-1]
            print(f"{number}/{COUNT} {name}: {recovery:.1f} s", flush=True)
            run = Run(SEED, rounds.tallies)
            if TALLY:
                Path(TALLY).write_bytes(msgspec.json.encode(run))
            if MATRIX:
                write_matrix(Path(MATRIX), [run])
            assert audit.clean, f"seed {SEED}, fault {number} ({name}): {audit}"
            assert fleet.aborted() == [], f"seed {SEED}, fault {number} ({name})"
