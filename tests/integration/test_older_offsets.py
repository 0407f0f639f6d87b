"""A group that Kafka, or a person, gives older offsets than it had reads the records once more."""

import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from psycopg import Cursor

from charging.outcomes import Decided, Outcome
from consumer.extent import OURS
from ledger.gap import Known, Published
from ledger.receipts import ReceiptWriter
from schemas.reader import identify
from tests.databases.writing import ROLE
from tests.inputs.callbacks import decided, element
from tests.integration.test_ledger_faults import waiting
from tests.integration.test_lost_offsets import (
    EXPIRED,
    WENT_BACK,
    bill,
    calls,
    delete_records,
    has_receipts,
    lost,
    set_offsets,
)
from tests.processes.consuming import CALLBACKS, Consuming
from tests.processes.process import exit_code
from tests.waiting import NET_SECONDS, eventually

DEADLINE_SECONDS = 30.0
DUPLICATES = 'billing_consumer_records_total{outcome="duplicate"'
BEHIND = "billing_ledger_behind_records_total"


def dies(consuming: Consuming, step: str, **settings: str) -> None:
    """Have a member begin, which kills itself the first time it comes to `step`."""
    crashing = ("tests.chaos.crash", step, "1")
    member = consuming.member(ready=False, program=crashing, **settings)
    assert exit_code(member.process, "the member", DEADLINE_SECONDS) == -signal.SIGKILL


def set_back(consuming: Consuming, to: int, said: str) -> int:
    """Give the group this offset in each partition that has gone further, as `said` beside it.

    Returns how many records it reads once more.
    """
    ends = gone_beyond(consuming, to)
    set_offsets(consuming, dict.fromkeys(ends, to), said)
    return sum(ends.values()) - to * len(ends)


def gone_beyond(consuming: Consuming, offset: int) -> dict[int, int]:
    """The partitions that have more than so many records, and where they end."""
    ends = consuming.topics.ends(CALLBACKS)
    return {partition: end for partition, end in ends.items() if end > offset}


def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_although_kafka_gives_the_group_offsets_of_long_ago(
    consuming: Consuming,
) -> None:
    bill(consuming, 0, 60)
    again = set_back(consuming, 2, OURS)
    assert again > 20
    consuming.send(*calls(60, 90))
    member = consuming.member()
    has_receipts(consuming, 90)
    consuming.all_committed()
    consuming.every_receipt_is_published_once(90)
    assert member.counted(WENT_BACK) > 0
    assert member.counted(DUPLICATES) == again
    assert member.end() == 0
    # Once more, and the next one goes on from there as if nothing had been.
    consuming.send(*calls(90, 95))
    member = consuming.member()
    has_receipts(consuming, 95)
    consuming.all_committed()
    consuming.every_receipt_is_published_once(95)
    assert member.counted(WENT_BACK) == 0


@pytest.mark.parametrize("step", ["", "after_database_commit", "during_kafka_commit"])
def test_ACCEPTED_IS_DURABLE_where_other_records_stand_at_offsets_of_long_ago(
    consuming: Consuming, step: str
) -> None:
    """Kafka has lost the end of the log with the offsets, and new calls have taken its place."""
    bill(consuming, 0, 60)
    with psycopg.connect(consuming.database_url) as connection:
        connection.execute(
            "UPDATE billing.published_offsets SET published_offset = next_offset + 3"
        )
        connection.execute("UPDATE billing.published_offsets SET next_offset = published_offset")
    consuming.send(*calls(60, 120))
    if step:
        dies(consuming, step)
    member = consuming.member()
    has_receipts(consuming, 120)
    consuming.all_committed()
    consuming.every_receipt_is_published_once(120)
    # The one that dies has told it, and has written down that nothing from there on is published.
    assert step or member.counted(WENT_BACK) > 0


def test_a_person_who_sets_the_groups_offsets_back_has_the_events_again(
    consuming: Consuming,
) -> None:
    """All of them, though the first member ends amid them and the next one finds its offsets."""
    bill(consuming, 0, 60)
    again = set_back(consuming, 2, "")
    dies(consuming, "after_kafka_commit", CONSUMER_BATCH_RECORDS="1")
    assert 60 < len(consuming.events()) < 60 + again
    member = consuming.member()
    consuming.all_committed()
    eventually(lambda: len(consuming.events()) == 60 + again, "the events, once more")
    assert len(consuming.tables.receipts()) == 60
    assert member.counted(WENT_BACK) == 0


@pytest.mark.parametrize("said", ["", OURS], ids=["of a person", "of Kafka"])
def test_what_retention_has_left_behind_older_offsets_is_read_again(
    consuming: Consuming, admin: AdminClient, said: str
) -> None:
    """A person has the events again; after a fault of Kafka no one has any twice."""
    bill(consuming, 0, 60)
    set_back(consuming, 0, said)
    # Offset 0 is gone before a member reads it.
    begins = dict.fromkeys(gone_beyond(consuming, 2), 2)
    delete_records(consuming, admin, begins)
    again = sum(consuming.topics.ends(CALLBACKS).values()) - sum(begins.values())
    member = consuming.member()
    consuming.all_committed()
    eventually(lambda: member.counted(DUPLICATES) == again, "what is left to be read again")
    wanted = 60 if said else 60 + again
    eventually(lambda: len(consuming.events()) == wanted, f"{wanted} events")
    assert lost(consuming) == []
    assert member.counted(EXPIRED) == 0
    assert (member.counted(WENT_BACK) > 0) is bool(said)


def test_a_crash_before_a_marker_of_a_transaction_is_no_older_offset(
    consuming: Consuming,
) -> None:
    """Between what the group has committed and the next record stands what ends a transaction."""
    producer = Producer(
        {
            "bootstrap.servers": consuming.bootstrap,
            "transactional.id": consuming.prefix,
            "partitioner": "murmur2_random",
        }
    )
    producer.init_transactions(NET_SECONDS)

    def send(values: Sequence[bytes]) -> None:
        producer.begin_transaction()
        for value in values:
            producer.produce(
                f"{consuming.prefix}{CALLBACKS}", value, identify(value).run_id.encode()
            )
        producer.commit_transaction(NET_SECONDS)

    send(calls(0, 60))
    member = consuming.member()
    has_receipts(consuming, 60)
    eventually(lambda: len(consuming.events()) == 60, "60 events")
    assert member.end() == 0
    send(calls(60, 90))
    dies(consuming, "after_database_commit")
    member = consuming.member()
    has_receipts(consuming, 90)
    eventually(lambda: len(consuming.events()) >= 90, "90 events")
    consuming.every_receipt_is_published_once(90)
    assert member.counted(WENT_BACK) == 0


def test_NOTHING_VANISHES_where_a_person_sets_offsets_back_and_forward_again(
    consuming: Consuming,
) -> None:
    bill(consuming, 0, 60)
    ends = gone_beyond(consuming, 0)
    set_back(consuming, 2, "")
    dies(consuming, "after_kafka_commit", CONSUMER_BATCH_RECORDS="1")

    def forward() -> bool:
        """Kafka takes it once the session of the member that died has ended."""
        try:
            set_offsets(consuming, ends, "")
        except KafkaException:
            return False
        return True

    eventually(forward, "the offsets set forward again")
    member = consuming.member()
    consuming.send(*calls(60, 65))
    has_receipts(consuming, 65)
    consuming.all_committed()
    assert member.counted(BEHIND) == 0


class Held(ReceiptWriter):
    """A ledger whose transactions have done all that they do, and commit when they may."""

    def __init__(self, url: str) -> None:
        super().__init__(url, ROLE)
        self.done, self.commit = threading.Event(), threading.Event()

    @contextmanager
    def _transaction(self, *, force_rollback: bool = False) -> Iterator[Cursor[Any]]:
        with super()._transaction(force_rollback=force_rollback) as cursor:
            yield cursor
            self.done.set()
            self.commit.wait(NET_SECONDS)


def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_although_another_writer_sets_back_what_is_published(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    """The same batch once more, while the transaction that has found the new record is open."""

    def call(offset: int, name: str) -> Decided:
        return decided(element(id=name), offset=offset)

    def write(writer: ReceiptWriter, batch: Sequence[Decided], since: int) -> list[Outcome]:
        end = batch[-1].record.offset + 1
        return writer.write(batch, [Published("group", CALLBACKS, 0, "here", end, since, since)])

    place = (CALLBACKS, 0)
    former = [call(offset, f"call-{offset}") for offset in range(6)]
    write(ledger, former, 0)
    ledger.remember([Published("group", CALLBACKS, 0, "here", 6, 6, 6)])
    again = [*former[2:4], call(4, "other")]
    with (
        closing(Held(migrated_database_url)) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        try:
            first = pool.submit(write, other, again, 2)
            eventually(other.done.is_set, "the first writer to have written")
            second = pool.submit(write, ledger, again, 2)
            eventually(lambda: waiting(migrated_database_url), "the second one to wait for it")
        finally:
            other.commit.set()
        found = [each.result(NET_SECONDS) for each in (first, second)]
    assert [[bool(one.receipt) for one in each] for each in found] == [[False, False, True]] * 2
    assert ledger.known("group", [place])[place] == Known("here", 5, 4)
    # Neither has published it: it is read again, with what stands behind it now.
    found_last = write(ledger, [*again, call(5, "one more")], 2)
    assert [bool(one.receipt) for one in found_last] == [False, False, True, True]
