"""The consumer's loops between simulated brokers and ledger, in the orders of many seeds.

Each of the faults that the loop once had, or could have, is put back and must be found.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, cast

import pytest
from confluent_kafka import Consumer, TopicPartition
from msgspec.structs import replace

from charging.outcomes import Outcome
from consumer import pipeline, placing, proof, start
from consumer.asking import Ask
from consumer.assignment import Assignment
from consumer.continuity import Continuity
from consumer.extent import Extent
from consumer.limit import ReleaseCheck
from consumer.loop import Loop
from consumer.observer import Observer
from consumer.offsets import Offsets
from consumer.outside import Work
from consumer.pipeline import Pipeline
from consumer.placement import Placement
from consumer.reading import Reader
from consumer.start import Place
from consumer.truncation import NO_EPOCH, Cut, cut_before
from consumer.worker import Stage
from ledger import rereading
from ledger.gap import Gap, Published
from schemas.record import Record
from tests.simulation.machine import SimulatedThread, SimulatedWork
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
    batch = Reader.batch

    def collected(self: Reader) -> list[Record]:
        assignment: Assignment = vars(self)["_assignment"]
        before = assignment.revocations
        records = batch(self)
        assignment.revocations = before
        return records

    patch.setattr(Reader, "batch", collected)


def dead_letters_count_twice(patch: pytest.MonkeyPatch) -> None:
    """A batch that was given up stays in the dead-letter limit, and counts again."""
    patch.setattr(ReleaseCheck, "withdraw", lambda _: None)


def positions_stay_where_they_were(patch: pytest.MonkeyPatch) -> None:
    """What was given up is not read again."""
    patch.setattr(Assignment, "unplace", lambda _: None)


def a_stale_report_is_believed(patch: pytest.MonkeyPatch) -> None:
    """That a partition has no offset was said of an earlier assignment; nobody asks again."""
    start_over = Offsets.start_over

    def believed(self: Offsets, consumer: Consumer, places: Mapping[Place, str], ask: Ask) -> bool:
        noted = self.noted
        setattr(self, "noted", lambda places, _: noted(places, []))  # noqa: B010 - mypy refuses
        try:
            return start_over(self, consumer, places, ask)
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


def dead_letters_of_all_batches_but_the_last_count_twice(patch: pytest.MonkeyPatch) -> None:
    """Two batches were in hand, and the limit knows of one."""

    def withdrawn(self: ReleaseCheck) -> None:
        before = vars(self)["_before"]
        if before:
            vars(self)["_unread"].go_back_to(before[-1])
        before.clear()

    patch.setattr(ReleaseCheck, "withdraw", withdrawn)


def what_follows_a_failure_is_done(patch: pytest.MonkeyPatch) -> None:
    """Its offsets are committed, and those of the batch before, whose transaction failed."""
    patch.setattr(Stage, "_do", lambda _, work: work())


def the_latest_is_done_first(patch: pytest.MonkeyPatch) -> None:
    """Where two batches wait to be published, the second one goes first."""

    def latest(_: SimulatedThread, left: Sequence[SimulatedWork]) -> SimulatedWork:
        return left[-1]

    patch.setattr(SimulatedThread, "next", latest)


def nothing_waits_for_what_follows_a_failure(patch: pytest.MonkeyPatch) -> None:
    """The group's offsets are asked for while the second batch is still written, then published."""
    patch.setattr(Pipeline, "_wait_for", lambda *_: None)


def a_revocation_waits_until_batches_are_written(patch: pytest.MonkeyPatch) -> None:
    """They are published afterwards, or rather refused."""

    def written(self: Pipeline) -> Iterator[Work[Any]]:
        for one in vars(self)["_in_hand"]:
            yield one.writing

    patch.setattr(Pipeline, "_works", written)


def a_revocation_waits_for_the_oldest_batch(patch: pytest.MonkeyPatch) -> None:
    """The second one is under way when the partitions are another member's."""
    works = Pipeline._works  # noqa: SLF001 - what is broken on purpose
    patch.setattr(Pipeline, "_works", lambda self: islice(works(self), 2))


def what_is_written_counts_as_published(patch: pytest.MonkeyPatch) -> None:
    """The ledger remembers that a batch was published as soon as the next one is written."""
    positions = Offsets.positions

    def claimed(self: Offsets, batch: Extent, before: Sequence[Extent] = ()) -> list[Published]:
        return [
            replace(one, published_offset=batch.first[one.topic, one.partition])
            for one in positions(self, batch, before)
        ]

    patch.setattr(Offsets, "positions", claimed)


def a_batch_hides_that_the_one_before_is_lost(patch: pytest.MonkeyPatch) -> None:
    """The ledger was put back between the two; it is compared with what is committed only."""
    positions = Offsets.positions

    def claimed(self: Offsets, batch: Extent, before: Sequence[Extent] = ()) -> list[Published]:
        known = {(one.topic, one.partition): one.committed for one in positions(self, batch)}
        return [
            replace(one, committed=known[one.topic, one.partition])
            for one in positions(self, batch, before)
        ]

    patch.setattr(Offsets, "positions", claimed)


def a_repair_hides_that_its_beginning_is_lost(patch: pytest.MonkeyPatch) -> None:
    """The ledger was put back once more while it was repaired."""
    published = Continuity._published  # noqa: SLF001 - what is broken on purpose

    def claimed(self: Continuity, one: Gap, offset: int, _: int) -> Published:
        return published(self, one, offset, 0)

    patch.setattr(Continuity, "_published", claimed)


def dead_letters_lose_their_bytes(patch: pytest.MonkeyPatch) -> None:
    """What is written is freed, whatever is still to be made of it."""

    def dropped(outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            outcome.decided.record.drop_value()

    patch.setattr(pipeline, "_drop_values", dropped)


def offsets_of_long_ago_are_believed(patch: pytest.MonkeyPatch) -> None:
    """What Kafka gives the group is taken for what it was told."""
    patch.setattr(rereading, "without_published", lambda outcomes, _: outcomes)


def what_stands_at_old_offsets_counts_as_published(patch: pytest.MonkeyPatch) -> None:
    """Where the log has lost its end, the ledger goes on as if the same records stood there."""
    patch.setattr(rereading, "first_new", lambda *_: {})


def what_was_published_is_written_down_over_what_went_back(patch: pytest.MonkeyPatch) -> None:
    """A member goes back, and writes down up to where it had published before."""
    noted = Offsets.noted

    def kept(
        self: Offsets, places: Collection[Place], answer: Sequence[TopicPartition]
    ) -> tuple[list[TopicPartition], set[Place]]:
        unwritten = dict(vars(self)["_unwritten"])
        found = noted(self, places, answer)
        vars(self)["_unwritten"].update(unwritten)
        return found

    patch.setattr(Offsets, "noted", kept)


def a_log_that_was_cut_is_only_sought_when_its_leader_changes(patch: pytest.MonkeyPatch) -> None:
    """What the client does by itself: who begins to read finds the group's offset valid."""

    def assigned(consumer: Consumer, places: Sequence[TopicPartition]) -> None:
        consumer.incremental_assign(list(places))

    patch.setattr(placing, "assign", assigned)


def offsets_are_committed_without_an_epoch(patch: pytest.MonkeyPatch) -> None:
    """Nobody can tell whether the log has lost what was read."""
    patch.setattr(Reader, "epochs", lambda *_: {})


def a_cut_is_reported_long_after_and_believed(patch: pytest.MonkeyPatch) -> None:
    """Another member has read on from there since, and its events go out again."""

    def believed(_: object, said: Mapping[Place, str], *__: object) -> dict[Place, Cut]:
        found = {place: cut_before(words, NO_EPOCH) for place, words in said.items()}
        return {place: cut for place, cut in found.items() if cut is not None}

    patch.setattr(proof, "cuts", believed)


def a_ledger_is_told_where_a_log_was_cut_whatever_it_has_lost(patch: pytest.MonkeyPatch) -> None:
    """Both have lost their ends, and what the ledger lacks before the cut is hidden."""
    patch.setattr(start, "_reaches", lambda *_: True)


def what_a_group_has_read_of_a_former_log_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A batch does not say then what comes before it, and nobody sees what the ledger lacks."""
    patch.setattr(Offsets, "says_nothing", lambda self, place: self.forget(*place))


FAULTS: Final[Sequence[Callable[[pytest.MonkeyPatch], None]]] = (
    a_pause_outlives_a_revocation,
    a_first_transaction_that_fails_is_passed_over,
    a_revocation_is_not_noticed,
    dead_letters_count_twice,
    positions_stay_where_they_were,
    a_stale_report_is_believed,
    a_failed_producer_is_kept,
    a_batch_is_begun_long_after_its_place_is_sure,
    dead_letters_of_all_batches_but_the_last_count_twice,
    what_follows_a_failure_is_done,
    the_latest_is_done_first,
    nothing_waits_for_what_follows_a_failure,
    a_revocation_waits_until_batches_are_written,
    a_revocation_waits_for_the_oldest_batch,
    what_is_written_counts_as_published,
    a_batch_hides_that_the_one_before_is_lost,
    a_repair_hides_that_its_beginning_is_lost,
    dead_letters_lose_their_bytes,
    offsets_of_long_ago_are_believed,
    what_stands_at_old_offsets_counts_as_published,
    what_was_published_is_written_down_over_what_went_back,
    a_log_that_was_cut_is_only_sought_when_its_leader_changes,
    offsets_are_committed_without_an_epoch,
    a_cut_is_reported_long_after_and_believed,
    a_ledger_is_told_where_a_log_was_cut_whatever_it_has_lost,
    what_a_group_has_read_of_a_former_log_is_forgotten,
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
