"""Partitions are read from where the group has committed, also when its coordinator moves."""

from contextlib import closing

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from consumer.assignment import Assignment
from consumer.health import Health
from consumer.offsets import Offsets
from consumer.topics import KafkaTopics
from ledger.gap import Published
from ledger.receipts import ReceiptWriter
from runtime.topic_ids import topic_ids
from tests.doubles.asking import at_once
from tests.processes.consuming import CALLBACKS, Consuming
from tests.waiting import NET_SECONDS, eventually

PARTITION = 3
OTHER = 4
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
    fill(consuming, name, PARTITION)
    commit(consuming, name, PARTITION)
    return name


def fill(consuming: Consuming, topic: str, partition: int) -> None:
    """Write some records."""
    producer = Producer({"bootstrap.servers": consuming.bootstrap})
    for number in range(RECORDS):
        producer.produce(topic, str(number).encode(), partition=partition)
    assert producer.flush(NET_SECONDS) == 0


def commit(consuming: Consuming, topic: str, partition: int) -> None:
    """Have the group read some of a partition."""
    config = {"bootstrap.servers": consuming.bootstrap, "group.id": consuming.group}
    with closing(Consumer(config)) as before:
        before.commit(offsets=[TopicPartition(topic, partition, COMMITTED)], asynchronous=False)


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
    with closing(member), closing(ReceiptWriter(consuming.database_url, "")) as ledger:
        assignment = Assignment(
            Offsets(KafkaTopics(dict(kafka)), consuming.group, ledger), Health(60)
        )
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
    """Nothing was committed when a partition came first; that is said when it comes again."""
    kafka, place = {"bootstrap.servers": consuming.bootstrap}, (topic, OTHER)
    fill(consuming, topic, OTHER)
    (topic_id,) = topic_ids(dict(kafka), {topic}).values()
    with (
        closing(member_of(consuming)) as member,
        closing(ReceiptWriter(consuming.database_url, "")) as ledger,
    ):
        assignment = Assignment(
            Offsets(KafkaTopics(dict(kafka)), consuming.group, ledger), Health(60)
        )
        assignment.gained(member, [TopicPartition(*place)])
        # Answered after the client's own question, so its report waits now.
        member.committed([TopicPartition(*place)], timeout=NET_SECONDS)
        assignment.lost(member, [TopicPartition(*place)])
        member.incremental_unassign([TopicPartition(*place)])
        # Another member reads on; the ledger knows what had been published before its last batch.
        commit(consuming, topic, OTHER)
        ledger.remember([Published(consuming.group, topic, OTHER, topic_id, COMMITTED, 0)])
        assignment.gained(member, [TopicPartition(*place)])
        assert member.told[OTHER] == COMMITTED
        message = eventually(lambda: member.poll(0.2), "what the client reports")
        assert message is not None
        reported = message.error()
        assert reported is not None
        assert reported.code() == KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 - librdkafka's own name
        assignment.lacks_offset(place, reported.str())
        eventually(lambda: positioned(assignment, member), "where to read")
        assert member.told[OTHER] == COMMITTED
