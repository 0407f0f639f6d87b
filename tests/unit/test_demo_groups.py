"""Which groups of the embedded broker do not move, decided without a broker."""

import pytest

from consumer.settings import Settings
from demo.groups import Group, Groups, Waiting, Watch
from demo.settings import CONSUMER_GROUP
from tests.processes.process import free_port

OWN = "billing-consumer"
BEHIND = Waiting("callbacks", 3, 17)


def group(state: str = "Stable", *waiting: Waiting, name: str = OWN, members: int = 2) -> Group:
    ids = tuple(f"member-{number}" for number in range(members))
    return Group(name=name, state=state, members=ids, waiting=frozenset(waiting))


@pytest.fixture
def watch() -> Watch:
    return Watch(OWN, patience_seconds=4, with_others_seconds=30)


@pytest.mark.parametrize("state", ["PreparingRebalance", "CompletingRebalance"])
def test_a_rebalance_that_does_not_end_is_stuck_each_time_anew(watch: Watch, state: str) -> None:
    found = [second for second in range(12) if watch.stuck([group(state)], second)]
    assert found == [5, 10]


def test_a_rebalance_that_ends_is_not(watch: Watch) -> None:
    states = ["PreparingRebalance", "CompletingRebalance", "CompletingRebalance", "Stable"] * 5
    assert not any(watch.stuck([group(state)], second) for second, state in enumerate(states))


def test_records_that_nobody_reads_on_are_tried_once(watch: Watch) -> None:
    found = [second for second in range(60) if watch.stuck([group("Stable", BEHIND)], second)]
    assert found == [5]
    later = BEHIND._replace(committed=18)
    found = [second for second in range(60, 99) if watch.stuck([group("Stable", later)], second)]
    assert found == [65]


def test_a_group_that_gets_on_is_left_alone(watch: Watch) -> None:
    for second in range(60):
        assert not watch.stuck([group("Stable", BEHIND._replace(committed=second))], second)


def test_a_single_member_is_left_to_the_supervisor(watch: Watch) -> None:
    for second in range(60):
        assert not watch.stuck([group("Stable", BEHIND, members=1)], second)


def test_groups_of_others_have_more_time_and_only_their_rebalances_are_looked_at(
    watch: Watch,
) -> None:
    theirs = [
        group("CompletingRebalance", name="theirs"),
        group("Stable", BEHIND, name="slow"),
        group("Empty", name="gone", members=0),
    ]
    found = {second: watch.stuck(theirs, second) for second in range(60)}
    assert [(second, [found.name for found in stuck]) for second, stuck in found.items() if stuck]
    assert [second for second, stuck in found.items() if stuck] == [31]


def test_without_a_broker_nothing_is_done() -> None:
    groups = Groups(free_port(), OWN)
    assert groups.mind(0) == []
    groups.release()


def test_the_name_of_the_group_is_the_consumers_own() -> None:
    assert Settings.model_fields["consumer_group"].default == CONSUMER_GROUP
