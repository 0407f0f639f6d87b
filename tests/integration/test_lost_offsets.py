"""A group whose offsets Kafka has lost reads on where it had published, or tells what is amiss."""

import httpx
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from consumer.cluster import Cluster
from schemas.topics import load_topics
from tests.services.broker import missing_for_apache
from tests.services.callbacks import element
from tests.services.consuming import CALLBACKS, Consuming, Member
from tests.services.waiting import NET_SECONDS, eventually

DEADLINE_SECONDS = 30.0


@pytest.fixture
def admin(kafka: str) -> AdminClient:
    """An administrator of the broker."""
    return AdminClient({"bootstrap.servers": kafka})


def calls(first: int, end: int) -> list[bytes]:
    """Paid calls with these numbers, in eleven runs."""
    return [
        element(
            id=f"call-{n}",
            litellm_call_id=f"call-{n}",
            metadata={"spend_logs_metadata": {"run_id": f"run-{n % 11}"}},
        )
        for n in range(first, end)
    ]


def bill(consuming: Consuming, first: int, end: int) -> None:
    """Have these calls billed by a member that is then asked to stop."""
    consuming.send(*calls(first, end))
    member = consuming.member()
    consuming.settled()
    assert member.end() == 0


def lose_offsets(consuming: Consuming, admin: AdminClient) -> None:
    """What Kafka does a week after the last member has left."""
    admin.delete_consumer_groups([consuming.group])[consuming.group].result(NET_SECONDS)


def has_receipts(consuming: Consuming, count: int) -> None:
    """Wait for so many receipts."""
    eventually(lambda: len(consuming.tables.receipts()) == count, f"{count} receipts")


def counted(member: Member, name: str) -> float:
    """A sample of the member's metrics; 0 when it is not there."""
    text = httpx.get(f"{member.metrics_url}/metrics", timeout=NET_SECONDS, trust_env=False).text
    found = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name)]
    return sum(map(float, found))


def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_although_the_group_has_lost_its_offsets(
    consuming: Consuming, admin: AdminClient
) -> None:
    bill(consuming, 0, 60)
    lose_offsets(consuming, admin)
    consuming.send(*calls(60, 90))
    member = consuming.member()
    has_receipts(consuming, 90)
    eventually(lambda: len(consuming.events()) >= 90, "90 events")
    consuming.every_receipt_is_published_once(90)
    assert counted(member, 'billing_consumer_offset_resets_total{reset="remembered"}') > 0
    assert counted(member, 'billing_consumer_records_total{outcome="duplicate"') == 0


@pytest.mark.skipif(bool(missing_for_apache()), reason="noida-db gives a new topic no new id")
def test_ACCEPTED_IS_DURABLE_although_the_topic_was_made_anew(
    consuming: Consuming, admin: AdminClient
) -> None:
    """Offsets of the old topic say nothing about the new one."""
    bill(consuming, 0, 60)
    lose_offsets(consuming, admin)
    name = f"{consuming.prefix}{CALLBACKS}"
    admin.delete_topics([name])[name].result(NET_SECONDS)
    eventually(
        lambda: name not in admin.list_topics(timeout=NET_SECONDS).topics, "the topic to be gone"
    )
    cluster = Cluster({"bootstrap.servers": consuming.bootstrap}, replication_factor=1)
    cluster.apply(cluster.differences(load_topics(consuming.prefix)))
    consuming.send(*calls(60, 180))
    member = consuming.member()
    has_receipts(consuming, 180)
    assert counted(member, 'billing_consumer_offset_resets_total{reset="other_topic"}') > 0


def test_records_that_kafka_deleted_before_they_were_read_are_counted(
    consuming: Consuming, admin: AdminClient
) -> None:
    bill(consuming, 0, 60)
    consuming.send(*calls(60, 90))
    name = f"{consuming.prefix}{CALLBACKS}"
    ends = consuming.topics.ends(CALLBACKS)
    everything = [TopicPartition(name, partition, end) for partition, end in ends.items()]
    for answer in admin.delete_records(everything).values():
        answer.result(NET_SECONDS)
    member = consuming.member()
    eventually(
        lambda: counted(member, "billing_consumer_expired_records_total") == 30,
        "30 expired records",
    )
    consuming.send(*calls(90, 100))
    has_receipts(consuming, 70)
