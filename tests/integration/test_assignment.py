"""Partitions are read from where the group has committed, also when its coordinator moves."""

from contextlib import closing

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from consumer.assignment import Assignment
from consumer.health import Health
from consumer.ledger import Ledger
from consumer.offsets import Offsets
from consumer.record import Published
from consumer.topic_ids import topic_ids
from tests.services.asking import at_once
from tests.services.consuming import CALLBACKS, Consuming
from tests.services.waiting import NET_SECONDS, eventually

PARTITION = 3
RECORDS = 5
COMMITTED = 2


class Moving(Consumer):
    """A client whose coordinator has just moved: the first questions for offsets are refused."""

    def __init__(self, config: dict[str, object], refusals: int) -> None:
        super().__init__(config)
        self.refusals = refusals
        self.told: dict[int, int] = {}

    def committed(
        self, partitions: list[TopicPartition], timeout: float = -1
    ) -> list[TopicPartition]:
        if self.refusals:
            self.refusals -= 1
            raise KafkaException(KafkaError(KafkaError.NOT_COORDINATOR))
        return super().committed(partitions, timeout=timeout)

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.told |= {part.partition: part.offset for part in partitions}
        super().incremental_assign(partitions)


@pytest.fixture
def topic(consuming: Consuming) -> str:
    """A topic with records in one partition, of which the group has committed some."""
    name = consuming.prefix + CALLBACKS
    producer = Producer({"bootstrap.servers": consuming.bootstrap})
    for number in range(RECORDS):
        producer.produce(name, str(number).encode(), partition=PARTITION)
    assert producer.flush(NET_SECONDS) == 0
    config = {"bootstrap.servers": consuming.bootstrap, "group.id": consuming.group}
    with closing(Consumer(config)) as before:
        before.commit(offsets=[TopicPartition(name, PARTITION, COMMITTED)], asynchronous=False)
    return name


def positioned(assignment: Assignment, member: Consumer) -> bool:
    """Try once, as the loop does, which goes on when a partition has no leader for a moment."""
    try:
        assignment.position(member, at_once)
    except KafkaException:
        return False
    return True


def member_of(consuming: Consuming, refusals: int = 0) -> Moving:
    """A member as the consumer has it."""
    return Moving(
        {
            "bootstrap.servers": consuming.bootstrap,
            "group.id": consuming.group,
            "auto.offset.reset": "error",
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
        },
        refusals,
    )


@pytest.mark.parametrize("refusals", [0, 1])
def test_a_member_is_told_where_to_read_and_asks_again_where_it_was_refused(
    consuming: Consuming, topic: str, refusals: int
) -> None:
    kafka = {"bootstrap.servers": consuming.bootstrap}
    member = member_of(consuming, refusals)
    with closing(member), closing(Ledger(consuming.database_url, "")) as ledger:
        assignment = Assignment(Offsets(dict(kafka), consuming.group, ledger), Health(60))
        member.subscribe([topic], on_assign=assignment.gained, on_revoke=assignment.lost)
        found: list[int] = []

        def read() -> bool:
            message = member.poll(0.2)
            if message is not None and message.error() is None:
                found.append(message.offset() or 0)
            return bool(assignment.places)

        eventually(read, "the partitions")
        place = (topic, PARTITION)
        assert (place in assignment.positioned) is (refusals == 0)
        assert (PARTITION in member.told) is (refusals == 0)
        eventually(lambda: positioned(assignment, member), "where to read")
        assert place in assignment.positioned
        assert member.told[PARTITION] == COMMITTED
        eventually(lambda: read() and len(found) == RECORDS - COMMITTED, "the records")
        assert found == list(range(COMMITTED, RECORDS))


def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_where_the_client_reports_what_was_true_before(
    consuming: Consuming, topic: str
) -> None:
    """Its report that nothing is committed may be of an earlier assignment."""
    kafka, place = {"bootstrap.servers": consuming.bootstrap}, (topic, PARTITION)
    (topic_id,) = topic_ids(dict(kafka), {topic}).values()
    with (
        closing(member_of(consuming)) as member,
        closing(Ledger(consuming.database_url, "")) as ledger,
    ):
        # It knows what had been published before the last batch.
        ledger.remember([Published(consuming.group, topic, PARTITION, topic_id, COMMITTED, 0)])
        assignment = Assignment(Offsets(dict(kafka), consuming.group, ledger), Health(60))
        assignment.places.add(place)
        assignment.lacks_offset(place, "no previously committed offset available")
        eventually(lambda: positioned(assignment, member), "where to read")
        assert member.told == {PARTITION: COMMITTED}
