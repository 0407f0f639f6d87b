"""A log of Kafka that has lost its end: what stands at these offsets afterwards is read as well."""

import os
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.brokers.apache_kafka import ApacheKafka
from tests.brokers.broker import missing_for_apache
from tests.databases.lost_receipts import positions, put_back
from tests.integration.test_lost_offsets import calls, has_receipts
from tests.integration.test_older_offsets import BEHIND, dies
from tests.processes.consuming import CALLBACKS, Consuming

_HEADER: Final = 12
"""Bytes of a batch of records before what its length counts: its first offset and the length."""
TRUNCATED: Final = 'billing_consumer_offset_resets_total{reset="truncated"'
pytestmark = pytest.mark.skipif(bool(missing_for_apache()), reason=str(missing_for_apache()))


@pytest.fixture
def kafka(broker: ApacheKafka) -> str:
    """The broker that is hurt has the topics of this file's tests."""
    return broker.bootstrap


def cut(log: Path, offset: int) -> int:
    """Cut a partition's log before `offset`, or the batch that has it; how many bytes are gone."""
    data = log.read_bytes()
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at + 8 : at + 12], "big")
        last = int.from_bytes(data[at + 23 : at + 27], "big")
        if int.from_bytes(data[at : at + 8], "big") + last >= offset:
            break
        at += _HEADER + length
    os.truncate(log, at)
    return len(data) - at


def lose_ends(consuming: Consuming, broker: ApacheKafka, offset: int) -> dict[int, int]:
    """Have the broker die, and come back without what each partition had from `offset` on."""
    ends = {part: end for part, end in consuming.topics.ends(CALLBACKS).items() if end > offset}
    broker.kill()
    for part in ends:
        [log] = (broker.data / f"{consuming.prefix}{CALLBACKS}-{part}").glob("*.log")
        assert cut(log, offset)
    broker.start()
    return ends


@pytest.mark.parametrize("meanwhile", ["read", "stopped"])
def test_ACCEPTED_IS_DURABLE_for_what_stands_where_a_log_had_lost_its_end(
    consuming: Consuming, broker: ApacheKafka, meanwhile: str
) -> None:
    """The group's offsets are as valid as before: the new calls stand before and behind them."""
    for call in calls(0, 60):
        consuming.send(call)
    member = consuming.member()
    consuming.all_committed()
    if meanwhile == "stopped":
        assert member.end() == 0
    former = lose_ends(consuming, broker, 2)
    for call in calls(100, 200):
        consuming.send(call)
    ends = consuming.topics.ends(CALLBACKS)
    assert all(ends[part] >= end for part, end in former.items())
    if meanwhile == "stopped":
        member = consuming.member()
    has_receipts(consuming, 160)
    consuming.all_committed()
    consuming.every_receipt_is_published_once(160)
    # Once more, where a transaction fails amid it.
    assert member.counted(TRUNCATED) >= len(former)
    assert member.end() == 0
    # What the next one finds is of the new log.
    member = consuming.member()
    consuming.send(*calls(200, 210))
    has_receipts(consuming, 170)
    consuming.all_committed()
    consuming.every_receipt_is_published_once(170)
    assert member.counted(TRUNCATED) == 0


def test_what_came_to_stand_where_a_log_was_cut_is_no_gap_of_the_ledger(
    consuming: Consuming, broker: ApacheKafka
) -> None:
    """The first member has moved the ledger's position, and dies before it commits anything."""
    read_by_one(consuming, 0, 60)
    former = lose_ends(consuming, broker, 2)
    for call in calls(100, 200):
        consuming.send(call)
    dies(consuming, "after_database_commit")
    member = consuming.member()
    has_receipts(consuming, 160)
    consuming.all_committed()
    consuming.every_receipt_is_published_once(160)
    assert member.counted(TRUNCATED) >= len(former)
    assert member.counted(BEHIND) == 0


def test_NOTHING_VANISHES_where_the_ledger_and_the_logs_have_lost_their_ends(
    consuming: Consuming, broker: ApacheKafka
) -> None:
    """As where a data centre loses power: what stands in a log has its receipt, and one event."""
    read_by_one(consuming, 0, 15)
    before = positions(consuming.database_url)
    read_by_one(consuming, 15, 75)
    put_back(consuming.database_url, before)
    former = lose_ends(consuming, broker, 4)
    kept = consuming.topics.ends(CALLBACKS)
    name = consuming.prefix + CALLBACKS
    lacking = sum(max(kept[part] - at, 0) for topic, part, at in before if topic == name)
    for call in calls(100, 200):
        consuming.send(call)
    ends = consuming.topics.ends(CALLBACKS)
    assert all(ends[part] >= end for part, end in former.items())
    member = consuming.member()
    has_receipts(consuming, sum(ends.values()))
    consuming.all_committed()
    assert member.counted(TRUNCATED) >= len(former)
    assert member.counted(BEHIND) == lacking > 0
    published = Counter(event.headers["ce_id"] for event in consuming.events())
    assert set(published.values()) == {1}
    assert len(published) == 175


def read_by_one(consuming: Consuming, first: int, end: int) -> None:
    """Have these calls billed by a member that ends then; each stands in a batch of its own."""
    for call in calls(first, end):
        consuming.send(call)
    member = consuming.member()
    consuming.all_committed()
    assert member.end() == 0
