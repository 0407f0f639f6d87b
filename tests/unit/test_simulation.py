"""The consumer's loops between simulated brokers and ledger, in the orders of many seeds.

Each of the faults that the loop once had is put back and must be found.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, cast

import pytest
from confluent_kafka import Consumer, TopicPartition

from charging.outcomes import Decided
from consumer.asking import Ask
from consumer.assignment import Assignment
from consumer.limit import DeadLetterGuard
from consumer.loop import Loop
from consumer.observer import Observer
from consumer.offsets import Offsets
from consumer.pipeline import GivenUp
from consumer.placement import Placement
from consumer.start import Place
from tests.simulation.schedule import Shape, broken, shrunk, silence
from tests.waiting import NET_SECONDS

SCHEDULES: Final = int(os.environ.get("SIMULATION_SCHEDULES", "2000"))
A_PART: Final = 250
ENOUGH: Final = 600
"""Schedules within which each fault that is put back is found."""
FINGERPRINTS: Final = """
import random
from tests.simulation.schedule import Schedule, Shape, silence
silence()
for seed in range(40):
    random.seed(seed)
    schedule = Schedule(seed, Shape())
    schedule.run()
    print(schedule.fingerprint())
"""


@pytest.fixture(autouse=True)
def _silent() -> None:
    """A schedule is full of failures, which are logged."""
    silence()


@pytest.mark.parametrize("first", range(0, SCHEDULES, A_PART))
def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_and_NOTHING_VANISHES_in_any_order(first: int) -> None:
    for seed in range(first, first + A_PART):
        wrong = broken(seed, Shape())
        assert wrong is None, f"{wrong}; smaller: {shrunk(seed, Shape())}"


class Deaf:
    """A client that is not told to read on."""

    def resume(self, _: object) -> None:
        """Nothing."""


def a_pause_outlives_a_revocation(patch: pytest.MonkeyPatch) -> None:
    """What librdkafka does, left as it is: the partition comes back and is never read again."""
    lost = Assignment.lost

    def kept(self: Assignment, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        lost(self, cast("Consumer", Deaf()), partitions)

    patch.setattr(Assignment, "lost", kept)


def a_first_transaction_that_fails_is_passed_over(patch: pytest.MonkeyPatch) -> None:
    """The group has committed nothing, and the client reads on behind the batch."""
    place = Assignment.place

    def passed(self: Assignment, consumer: Consumer, ask: Ask) -> None:
        known = dict(vars(self)["_without_offset"])
        place(self, consumer, ask)
        vars(self)["_without_offset"] = known

    patch.setattr(Assignment, "place", passed)


def a_revocation_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    """A partition left and came back while the batch was collected; it is begun all the same."""
    rewind = Loop._rewind  # noqa: SLF001 - what is broken on purpose

    def begun(self: Loop, given_up: GivenUp) -> None:
        if given_up.begun:
            rewind(self, given_up)
            return
        mine: dict[str, Any] = vars(self)
        decided = [Decided(record, mine["_decide"](record)) for record in given_up.records]
        mine["_limit"].admit(decided)
        metadata = mine["_consumer"].consumer_group_metadata()
        mine["_pipeline"].begin(given_up.records, decided, metadata)

    patch.setattr(Loop, "_rewind", begun)


def dead_letters_count_twice(patch: pytest.MonkeyPatch) -> None:
    """A batch that was given up stays in the dead-letter limit, and counts again."""
    patch.setattr(DeadLetterGuard, "withdraw", lambda _: None)


def positions_stay_where_they_were(patch: pytest.MonkeyPatch) -> None:
    """What was given up is not read again."""
    patch.setattr(Assignment, "unplace", lambda _: None)


def a_stale_report_is_believed(patch: pytest.MonkeyPatch) -> None:
    """That a partition has no offset was said of an earlier assignment; nobody asks again."""
    start_over = Offsets.start_over

    def believed(self: Offsets, consumer: Consumer, places: Mapping[Place, str], ask: Ask) -> None:
        noted = self.noted
        setattr(self, "noted", lambda places, _: noted(places, []))  # noqa: B010 - mypy refuses
        try:
            start_over(self, consumer, places, ask)
        finally:
            del vars(self)["noted"]

    patch.setattr(Offsets, "start_over", believed)


def a_failed_producer_is_kept(patch: pytest.MonkeyPatch) -> None:
    """Nothing is published any more."""
    patch.setattr(Loop, "_renew", lambda *_: None)


def a_batch_is_begun_long_after_its_place_is_sure(patch: pytest.MonkeyPatch) -> None:
    """Partitions come while something slow is asked; the batch then goes without positions."""
    ensure, observe = Placement.ensure, Observer.observe
    put_off: list[Callable[[], None]] = []

    def observed(*arguments: object) -> None:
        put_off.append(partial(cast("Callable[..., None]", observe), *arguments))

    def ensured(self: Placement, in_hand: Collection[Place]) -> bool:
        ensure(self, in_hand)
        while put_off:
            put_off.pop()()
        return True

    patch.setattr(Observer, "observe", observed)
    patch.setattr(Placement, "ensure", ensured)


FAULTS: Final[Sequence[Callable[[pytest.MonkeyPatch], None]]] = (
    a_pause_outlives_a_revocation,
    a_first_transaction_that_fails_is_passed_over,
    a_revocation_is_not_noticed,
    dead_letters_count_twice,
    positions_stay_where_they_were,
    a_stale_report_is_believed,
    a_failed_producer_is_kept,
    a_batch_is_begun_long_after_its_place_is_sure,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_that_is_put_back_is_found(
    fault: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    assert any(broken(seed, Shape()) for seed in range(ENOUGH))


def test_a_seed_is_the_same_schedule_in_every_process() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", FINGERPRINTS],
            env={**os.environ, "PYTHONHASHSEED": order_of_sets},
            capture_output=True,
            text=True,
            check=True,
            timeout=NET_SECONDS,
        ).stdout.splitlines()
        for order_of_sets in ("1", "2")
    ]
    assert told[0] == told[1]
    assert len(set(told[0])) == 40
