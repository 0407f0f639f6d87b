"""A group whose offsets Kafka has lost reads on where it had published, or tells what is amiss."""

from collections.abc import Mapping

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from consumer.extent import OURS
from tests.brokers.broker import missing_for_apache
from tests.inputs.callbacks import element
from tests.processes.consuming import CALLBACKS, Consuming
from tests.waiting import NET_SECONDS, eventually

WENT_BACK = 'billing_consumer_offset_resets_total{reset="went_back"}'


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
    consuming.all_committed()
    assert member.end() == 0


def lose_offsets(consuming: Consuming, admin: AdminClient) -> None:
    """What Kafka does a week after the last member has left."""
    admin.delete_consumer_groups([consuming.group])[consuming.group].result(NET_SECONDS)


def has_receipts(consuming: Consuming, count: int) -> None:
    """Wait for so many receipts."""
    eventually(lambda: len(consuming.tables.receipts()) == count, f"{count} receipts")


def set_offsets(consuming: Consuming, offsets: Mapping[int, int], said: str) -> None:
    """Give the group offsets of partitions, with `said` beside them."""
    name = f"{consuming.prefix}{CALLBACKS}"
    setting = Consumer({"bootstrap.servers": consuming.bootstrap, "group.id": consuming.group})
    places = [TopicPartition(name, place, at, said) for place, at in offsets.items()]
    setting.commit(offsets=places, asynchronous=False)
    setting.close()


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
    assert member.counted('billing_consumer_offset_resets_total{reset="remembered"}') > 0
    assert member.counted('billing_consumer_records_total{outcome="duplicate"') == 0


@pytest.mark.skipif(bool(missing_for_apache()), reason="noida-db gives a new topic no new id")
def test_ACCEPTED_IS_DURABLE_although_the_topic_was_made_anew(
    consuming: Consuming, admin: AdminClient
) -> None:
    """Offsets of the old topic say nothing about the new one."""
    bill(consuming, 0, 60)
    lose_offsets(consuming, admin)
    consuming.make_anew()
    consuming.send(*calls(60, 180))
    member = consuming.member()
    has_receipts(consuming, 180)
    assert member.counted('billing_consumer_offset_resets_total{reset="other_topic"}') > 0


EXPIRED = "billing_consumer_expired_records_total"


def delete_records(
    consuming: Consuming, admin: AdminClient, upto: Mapping[int, int] | None = None
) -> None:
    """What retention does with everything that is on the topic now, or with what is before."""
    name = f"{consuming.prefix}{CALLBACKS}"
    ends = consuming.topics.ends(CALLBACKS) if upto is None else upto
    places = [TopicPartition(name, partition, end) for partition, end in ends.items()]
    for answer in admin.delete_records(places).values():
        answer.result(NET_SECONDS)


def lost(consuming: Consuming) -> list[tuple[object, ...]]:
    """What the ledger says of records that nobody can read any more."""
    with psycopg.connect(consuming.database_url) as connection:
        return connection.execute(
            "SELECT reason, sum(next_offset - first_offset)::int FROM billing.lost_records"
            " GROUP BY 1 ORDER BY 1"
        ).fetchall()


@pytest.mark.parametrize("said", [OURS, ""], ids=["our offsets", "a former release's"])
def test_records_that_kafka_deleted_before_they_were_read_are_counted_once(
    consuming: Consuming, admin: AdminClient, said: str
) -> None:
    bill(consuming, 0, 60)
    ends = consuming.topics.ends(CALLBACKS)
    set_offsets(consuming, {place: end for place, end in ends.items() if end}, said)
    consuming.send(*calls(60, 90))
    delete_records(consuming, admin)
    member = consuming.member()
    eventually(lambda: member.counted(EXPIRED) == 30, "30 expired records")
    assert member.counted(f'{EXPIRED}{{reason="expired"}}') == 30
    assert member.end() == 0
    # The group has committed nothing since, so this one asks the ledger again.
    member = consuming.member()
    eventually(lambda: member.said("the group has no valid offset"), "where to read on")
    consuming.send(*calls(90, 100))
    has_receipts(consuming, 70)
    assert member.counted(EXPIRED) == 0
    assert member.counted(WENT_BACK) == 0
    assert lost(consuming) == [("expired", 30)]


def test_records_that_a_new_group_could_never_read_are_counted_once(
    consuming: Consuming, admin: AdminClient
) -> None:
    consuming.send(*calls(0, 30))
    delete_records(consuming, admin)
    member = consuming.member()
    eventually(lambda: member.counted(EXPIRED) == 30, "30 records that were never read")
    assert member.counted(f'{EXPIRED}{{reason="never_read"}}') == 30
    assert member.end() == 0
    member = consuming.member()
    consuming.send(*calls(30, 40))
    has_receipts(consuming, 10)
    assert member.counted(EXPIRED) == 0
    assert lost(consuming) == [("never_read", 30)]


def test_a_replay_from_before_the_first_record_says_where_they_begin(
    consuming: Consuming, admin: AdminClient
) -> None:
    consuming.send(*calls(0, 30))
    delete_records(consuming, admin)
    partition, begins = max(consuming.topics.ends(CALLBACKS).items(), key=lambda end: end[1])
    code, said = consuming.tried("replay", "--from-offset", f"{partition}:{begins - 1}")
    assert code == 2
    assert f"give --from-offset {partition}:{begins}" in " ".join(said.split())
    consuming.command("replay", "--from-offset", f"{partition}:{begins}")
