"""A ledger that knows less than the group has committed: restored, another one, or upgraded."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from threading import Event
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from msgspec.structs import replace
from psycopg import Cursor

from charging.decision import decide
from charging.outcomes import Charge, Decided, Outcome
from consumer.continuity import Continuity
from consumer.offsets import Offsets
from consumer.topics import KafkaTopics
from ledger.apply import apply
from ledger.debits import CreditTerms
from ledger.gap import Known, LedgerBehindError, Published
from ledger.receipts import ReceiptWriter
from runtime.kafka import committed
from tests.databases.database import fresh_database
from tests.databases.lost_receipts import positions, put_back
from tests.databases.writing import ROLE
from tests.doubles.asking import at_once
from tests.inputs.callbacks import decided, element, in_run, policy
from tests.processes.consuming import CALLBACKS, Consuming
from tests.waiting import NET_SECONDS, eventually

FIRST, ALL = 30, 70
BEHIND = "billing_ledger_behind_records_total"
GONE = "billing_ledger_lost_records_total"


def bill(consuming: Consuming, first: int, end: int) -> None:
    """Have these calls billed by a member that is then asked to stop."""
    consuming.send(*map(in_run, range(first, end)))
    member = consuming.member()
    consuming.all_committed()
    assert member.end() == 0


def amounts(consuming: Consuming) -> list[tuple[object, ...]]:
    """Each receipt: its id, its amount, its account and the record that made it."""
    return [
        (
            row["id"],
            row["cost_text"],
            row["charged_credits"],
            row["billing_account_id"],
            row["kafka_topic"],
            row["kafka_partition"],
            row["kafka_offset"],
        )
        for row in consuming.tables.receipts()
    ]


def test_a_restored_backup_is_made_whole_when_the_consumer_starts(consuming: Consuming) -> None:
    bill(consuming, 0, FIRST)
    before = positions(consuming.database_url)
    bill(consuming, FIRST, ALL)
    whole = amounts(consuming)
    assert put_back(consuming.database_url, before) == ALL - FIRST
    member = consuming.member()
    eventually(lambda: amounts(consuming) == whole, "the receipts")
    assert member.counted(BEHIND) == ALL - FIRST
    consuming.send(*map(in_run, range(ALL + 10)))
    consuming.all_committed()
    consuming.every_receipt_is_published_once(ALL + 10)
    assert member.end() == 0
    assert consuming.member().counted(BEHIND) == 0


def test_a_ledger_that_is_put_back_under_a_running_consumer_hides_nothing(
    consuming: Consuming,
) -> None:
    """The next batch would say that everything before it is written."""
    bill(consuming, 0, FIRST)
    before = positions(consuming.database_url)
    consuming.send(*map(in_run, range(FIRST, ALL)))
    member = consuming.member()
    consuming.all_committed()
    whole = amounts(consuming)
    put_back(consuming.database_url, before)
    consuming.send(*map(in_run, range(ALL, ALL + 30)))
    consuming.all_committed()
    eventually(lambda: len(amounts(consuming)) == ALL + 30, "all receipts")
    assert set(whole) <= set(amounts(consuming))
    consuming.every_receipt_is_published_once(ALL + 30)
    assert member.counted(BEHIND) == ALL - FIRST


def test_an_empty_ledger_of_an_old_group_is_told_and_filled_as_far_as_kafka_can(
    consuming: Consuming, database_server: str, migrated_template: str
) -> None:
    bill(consuming, 0, FIRST)
    name = f"{consuming.prefix}{CALLBACKS}"
    ends = consuming.topics.ends(CALLBACKS)
    everything = [TopicPartition(name, partition, end) for partition, end in ends.items()]
    admin = AdminClient({"bootstrap.servers": consuming.bootstrap})
    for answer in admin.delete_records(everything).values():
        answer.result(NET_SECONDS)
    bill(consuming, FIRST, ALL)
    whole = amounts(consuming)
    with fresh_database(database_server, migrated_template) as other:
        member = consuming.member(DATABASE_URL=other)
        eventually(lambda: member.said("written again", 6), "the partitions to be written again")
        assert member.counted(f'{BEHIND}{{cause="unknown"}}') == ALL
        assert member.counted(GONE) == FIRST
        consuming.send(*map(in_run, range(ALL, ALL + 5)))
        consuming.all_committed()
        with psycopg.connect(other) as connection:
            count = connection.execute("SELECT count(*) FROM billing.charge_receipts").fetchone()
            lost = connection.execute(
                "SELECT reason, sum(next_offset - first_offset)::int FROM billing.lost_records"
                " GROUP BY 1"
            ).fetchall()
        assert count == (ALL + 5 - FIRST,)
        assert lost == [("ledger_lost", FIRST)]
        assert member.end() == 0
        assert consuming.member(DATABASE_URL=other).counted(GONE) == 0
    assert amounts(consuming) == whole
    assert len(consuming.events()) == ALL + 5


@pytest.mark.parametrize("written", ["never by this release", "by this release, then the former"])
def test_an_upgrade_is_no_alarm(consuming: Consuming, written: str) -> None:
    """The release before wrote down where a batch began, not where it ended."""
    bill(consuming, 0, FIRST)
    before = positions(consuming.database_url)
    bill(consuming, FIRST, ALL)
    with psycopg.connect(consuming.database_url) as connection:
        connection.cursor().executemany(
            "UPDATE billing.published_offsets SET next_offset = %s, written_at = now()"
            " WHERE kafka_topic = %s AND kafka_partition = %s",
            [(offset, topic, partition) for topic, partition, offset in before],
        )
        if written == "never by this release":
            connection.execute(
                "UPDATE billing.published_offsets"
                " SET published_offset = NULL, after_batch_at = NULL"
            )
    member = consuming.member()
    eventually(lambda: member.said("written again"), "the ledger to be compared")
    consuming.send(*map(in_run, range(ALL, ALL + 10)))
    consuming.all_committed()
    assert member.counted(BEHIND) == 0
    assert member.end() == 0
    consuming.every_receipt_is_published_once(ALL + 10)
    assert not consuming.member().said("written again")


def known(ledger: ReceiptWriter) -> int:
    """Up to where the partition of these tests is written."""
    found = ledger.known("group", [("topic", 0)])
    return found["topic", 0].next_offset if found else -1


def at(offset: int, *, committed: int = 0, topic_id: str = "here") -> Published:
    """A position of these tests."""
    return Published("group", "topic", 0, topic_id, offset, offset, committed)


def test_a_batch_behind_a_gap_is_not_written(ledger: ReceiptWriter) -> None:
    ledger.write([decided(element())], [at(5)])
    for published in (at(9, committed=6), at(9, committed=5, topic_id="other")):
        with pytest.raises(LedgerBehindError, match="topic/0"):
            ledger.write([decided(element(id="other"))], [published])
    assert known(ledger) == 5
    [outcome] = ledger.write([decided(element(id="other"))], [at(9, committed=5)])
    assert outcome.outcome == "created"
    assert known(ledger) == 9


def refused(name: str) -> Decided:
    """A call whose row PostgreSQL refuses."""
    bad = decided(element(id=name))
    assert isinstance(bad.decision, Charge)
    return Decided(bad.record, replace(bad.decision, content_hash="a\x00b"))


@pytest.mark.parametrize("at_the_end", [True, False])
def test_a_batch_that_is_written_in_parts_is_remembered_when_all_of_it_is(
    *, ledger: ReceiptWriter, at_the_end: bool
) -> None:
    batch = [refused("bad"), *(decided(element(id=str(n))) for n in range(3))]
    ledger.write(batch[::-1] if at_the_end else batch, [at(4)])
    assert known(ledger) == 4


def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_in_a_batch_of_old_offsets_written_in_parts(
    ledger: ReceiptWriter,
) -> None:
    """Each part leaves out what is published; a record that is new there unpublishes the rest."""

    def upto(end: int, published: int, committed: int) -> Published:
        return Published("group", CALLBACKS, 0, "here", end, published, committed)

    def calls(*offsets: int) -> list[Decided]:
        return [decided(element(id=f"call-{at}"), offset=at) for at in offsets]

    ledger.write(calls(1, 2, 3, 4, 5), [upto(6, 1, 0)])
    ledger.remember([upto(6, 6, 6)])
    bad = decided(element(id="bad"), offset=6)
    assert isinstance(bad.decision, Charge)
    refuse = Decided(bad.record, replace(bad.decision, content_hash="a\x00b"))
    again = ledger.write([*calls(1, 2, 3), refuse], [upto(7, 1, 1)])
    assert [one.receipt for one in again] == [None] * 4
    other = decided(element(id="other"), offset=4)
    found = ledger.write([*calls(3), other, *calls(5)], [upto(6, 3, 3)])
    assert [bool(one.receipt) for one in found] == [False, True, False]
    place = (CALLBACKS, 0)
    assert ledger.known("group", [place])[place] == Known("here", 6, 4)
    # Its transaction failed: it is read again.
    found = ledger.write([other, *calls(5)], [upto(6, 4, 4)])
    assert all(one.receipt for one in found)


def test_a_fail_over_between_the_parts_of_a_batch_finds_none_of_it_remembered(
    ledger: ReceiptWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def torn(
        cursor: Cursor[Any], batch: Sequence[Decided], terms: CreditTerms | None, *, seals: bool
    ) -> list[Outcome]:
        calls.append(len(batch))
        if calls == [4, 2, 1, 1, 2]:
            raise psycopg.OperationalError("the primary is gone")
        return apply(cursor, batch, terms, seals=seals)

    monkeypatch.setattr("ledger.receipts.apply", torn)
    with pytest.raises(psycopg.OperationalError):
        ledger.write([refused("bad"), *(decided(element(id=str(n))) for n in range(3))], [at(4)])
    assert known(ledger) == -1


@pytest.mark.parametrize(
    ("given", "taken"),
    [("off", "on"), ("local", "on"), ("on", "on"), ("remote_write", "remote_write"),
     ("remote_apply", "remote_apply")],
)  # fmt: skip
def test_what_is_committed_outlives_a_crash_whatever_the_server_says(
    migrated_database_url: str, given: str, taken: str
) -> None:
    url = f"{migrated_database_url}?options=-csynchronous_commit%3D{given}"
    with closing(Watched(url, ROLE)) as ledger:
        assert ledger.commits() == taken


class Watched(ReceiptWriter):
    """A ledger that says how its sessions commit."""

    def commits(self) -> str:
        """The setting within a transaction."""
        with self._transaction() as cursor:
            [value] = cursor.execute("SHOW synchronous_commit").fetchone() or [""]
            return str(value)


class Interrupted(ReceiptWriter):
    """A ledger whose consumer loses its partitions when the first batch has been written again."""

    def __init__(self, url: str) -> None:
        super().__init__(url, ROLE)
        self.interrupt: Callable[[], None] = lambda: None

    def write(self, batch: Sequence[Decided], published: Sequence[Published] = ()) -> list[Outcome]:
        found = super().write(batch, published)
        self.interrupt()
        return found


def test_who_holds_the_partitions_next_goes_on_with_what_was_begun(consuming: Consuming) -> None:
    consuming.send(*map(in_run, range(ALL)))
    ends = consuming.topics.ends(CALLBACKS)
    name = consuming.prefix + CALLBACKS
    kafka = {"bootstrap.servers": consuming.bootstrap}
    member = Consumer(kafka | {"group.id": consuming.group, "enable.auto.commit": False})
    with closing(member), closing(Interrupted(consuming.database_url)) as ledger:
        member.commit(
            offsets=[TopicPartition(name, number, end) for number, end in ends.items()],
            asynchronous=False,
        )
        offsets = Offsets(KafkaTopics(dict(kafka)), consuming.group, ledger)
        places = {(name, number) for number in ends}
        offsets.noted(places, committed(member, places))
        continuity = Continuity(partial(decide, policy=policy()), ledger, offsets, Event())
        ledger.interrupt = continuity.interrupt
        found = continuity.gaps(places, at_once)
        assert sum(one.end - one.first for one in found) == ALL

        continuity.close(found)
        left = continuity.gaps(places, at_once)
        assert 0 < len(left) == len(found) - 1
        ledger.interrupt = continuity.resume
        continuity.resume()
        continuity.close(left)
        assert continuity.gaps(places, at_once) == []
        assert not offsets.doubted
    assert len(amounts(consuming)) == ALL
    assert consuming.events() == []
