"""A member whose coordinator was away: it keeps polling while it asks where to read on.

What does not poll serves no rebalance, and the group waits for it.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer import waiting
from consumer.asking import RevokedError
from consumer.assignment import Assignment
from consumer.health import Health
from consumer.offsets import Offsets
from consumer.outside import RealMachine
from consumer.placement import Placement
from consumer.reading import Reader
from consumer.waiting import Waiting
from consumer.worker import Worker
from tests.inputs.settings import settings
from tests.waiting import NET_SECONDS

PLACE = ("topic", 3)
COMMITTED = 40
Each = Callable[[int], None]
"""What happens at a poll, by its number."""


class Message:
    """A record that the client had read by itself."""

    def error(self) -> None:
        """None."""

    def topic(self) -> str:
        return PLACE[0]

    def partition(self) -> int:
        return PLACE[1]

    def offset(self) -> int:
        return COMMITTED

    def leader_epoch(self) -> None:
        """None."""

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def key(self) -> None:
        """None."""

    def value(self) -> bytes:
        return b"{}"

    def headers(self) -> None:
        """None."""


class Client:
    """A group's member. Its coordinator answers when it is told to; it counts its polls."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.polls = 0
        self.each: Each = lambda _: None
        self.waited: list[float] = []
        self.told: dict[int, int] = {}

    def committed(self, parts: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        """Answer, or be late."""
        self.waited.append(timeout)
        if len(self.waited) == 1:
            raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
        assert self.answers.wait(NET_SECONDS)
        return [TopicPartition(part.topic, part.partition, COMMITTED) for part in parts]

    def poll(self, _: float) -> None:
        self.polls += 1
        self.each(self.polls)

    def consume(self, _: int, __: float) -> list[Message]:
        return [Message()]

    def incremental_assign(self, parts: list[TopicPartition]) -> None:
        self.told |= {part.partition: part.offset for part in parts}

    def incremental_unassign(self, _: object) -> None:
        """Nothing to do."""

    def pause(self, _: object) -> None:
        """Nothing to do."""

    def resume(self, _: object) -> None:
        """Nothing to do."""


class Quiet:
    """A ledger that lacks nothing."""

    doubts = False

    def gaps(self, _: object, __: object) -> list[object]:
        return []

    def interrupt(self) -> None:
        """Nothing to do."""


class Member:
    """A member that was given a partition whose committed offset nobody told."""

    def __init__(self) -> None:
        self.client = Client()
        foreign: Any = self.client
        ledger: Any = Quiet()
        self.foreign = foreign
        self.health = Health(60)
        self.stop = threading.Event()
        self.assignment = Assignment(Offsets(ledger, "group", ledger), self.health)
        self.reader = Reader(foreign, self.assignment, settings(consumer_batch_records=1))
        patience = Waiting(self.reader, self.health, self.stop, 0.01)
        self.worker = Worker(patience, self.stop.set, RealMachine().thread("worker"))
        self.placement = Placement(
            foreign,
            self.assignment,
            ledger,
            self.health,
            stop=self.stop,
            worker=self.worker,
            waiting=patience,
        )
        self.assignment.gained(foreign, [TopicPartition(*PLACE)])


@pytest.fixture
def member(monkeypatch: pytest.MonkeyPatch) -> Member:
    """The member; no test waits for seconds."""
    for name in ("_QUIET_SECONDS", "_HANGS_SECONDS"):
        monkeypatch.setattr(waiting, name, 0.0)
    return Member()


def test_the_group_waits_a_second_at_most_for_where_to_read(member: Member) -> None:
    # The first question was asked while the client served the rebalance.
    assert member.client.waited == [1.0]
    assert member.assignment.positioned == set()


def test_what_the_client_reads_by_itself_meanwhile_is_read_again(member: Member) -> None:
    # It would be in hand when the position is set back, and its events would come twice.
    assert member.reader.batch() == []
    member.client.answers.set()
    member.placement.ensure(())
    assert member.client.told == {PLACE[1]: COMMITTED}
    assert [record.offset for record in member.reader.batch()] == [COMMITTED]


def test_a_member_polls_while_its_coordinator_is_asked(member: Member) -> None:
    def each(poll: int) -> None:
        if poll == 5:
            assert member.health.missing == "kafka"
            member.client.answers.set()

    member.client.each = each
    member.placement.ensure(())
    assert member.client.polls >= 5
    assert member.assignment.positioned == {PLACE}


def test_an_answer_from_before_the_partition_was_taken_away_is_asked_for_again(
    member: Member,
) -> None:
    def each(poll: int) -> None:
        if poll == 2:
            member.assignment.lost(member.foreign, [TopicPartition(*PLACE)])
            member.client.answers.set()

    member.client.each = each
    ask = partial(member.assignment.place, member.foreign, member.placement.ask)
    with pytest.raises(RevokedError):
        ask()
    assert member.client.told == {}
    assert member.assignment.unplaced == set()
