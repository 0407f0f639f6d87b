"""Members of the consumer group: they share, stop when asked, and stop by themselves."""

import signal
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions
from prometheus_client.parser import text_string_to_metric_families

from tests.clients import fetching
from tests.inputs.callbacks import in_run
from tests.network.gate import Gate
from tests.network.hindered import Refusing, ShortTransactions, SlowEnd, hindered
from tests.processes.consuming import (
    CALLBACKS,
    DEAD_LETTERS,
    RECEIPTS,
    Consuming,
    Member,
    assigned,
)
from tests.processes.process import exit_code
from tests.waiting import NET_SECONDS, eventually

BROKEN = ["tests.doubles.broken_release"]


def test_a_member_that_is_asked_to_stop_finishes_and_says_so(consuming: Consuming) -> None:
    member = consuming.member()
    consuming.send(*(in_run(number) for number in range(200)))
    assert member.end(signal.SIGTERM) == 0
    assert [line["event"] for line in member.lines()][-1] == "consumer stopped"
    successor = consuming.member()
    consuming.all_committed()
    consuming.every_receipt_is_published_once(200)
    assert successor.end(signal.SIGINT) == 0


def test_a_member_whose_client_never_closes_ends_all_the_same(consuming: Consuming) -> None:
    """As librdkafka's may where a rebalance meets its closing."""
    member = consuming.member(program=["tests.doubles.endless_close"])
    consuming.send(*(in_run(number) for number in range(20)))
    consuming.all_committed()
    assert member.end(signal.SIGTERM) == 0
    said = [line["event"] for line in member.lines()][-2:]
    assert said == ["the kafka client does not close and is left behind", "consumer stopped"]
    consuming.every_receipt_is_published_once(20)


def test_a_coordinator_that_has_just_moved_ends_no_member(consuming: Consuming) -> None:
    """It refuses who asks for the group's offsets: members, and what looks at the backlog."""
    consuming.send(*(in_run(number) for number in range(14)))
    with hindered(consuming.bootstrap, Refusing) as address:
        member = consuming.member(KAFKA_BOOTSTRAP_SERVERS=address)
        consuming.all_committed()
        looked = "billing_consumer_backlog_look_timestamp_seconds"
        eventually(lambda: member.counted(looked) > 0, "the member to look at the backlog")
        assert member.end() == 0
    consuming.every_receipt_is_published_once(14)


def test_a_kafka_that_ends_no_transaction_in_time_is_given_more(consuming: Consuming) -> None:
    """Else a slow one would have every batch tried again, for good."""
    consuming.send(*(in_run(number) for number in range(14)))
    with hindered(consuming.bootstrap, SlowEnd) as address:
        member = consuming.member(
            KAFKA_BOOTSTRAP_SERVERS=address, CONSUMER_TRANSACTION_TIMEOUT_MS="1000"
        )
        consuming.all_committed()
        assert member.said("batch will be tried again")
        assert member.end() == 0
    consuming.every_receipt_is_published_once(14)


def test_a_broker_that_takes_no_longer_transactions_is_left_with_short_ones(
    consuming: Consuming,
) -> None:
    """As one whose `transaction.max.timeout.ms` somebody has lowered."""
    consuming.send(*(in_run(number) for number in range(14)))
    kind = ShortTransactions.made(longest_ms=1_000)
    with hindered(consuming.bootstrap, kind) as address:
        member = consuming.member(
            KAFKA_BOOTSTRAP_SERVERS=address, CONSUMER_TRANSACTION_TIMEOUT_MS="1000"
        )
        eventually(lambda: kind.refused, "the broker to refuse a longer one")
        late = "went back to the committed offsets"
        eventually(lambda: member.said(late, 2), "short ones again")
        kind.quick.set()
        consuming.all_committed()
        assert kind.refused == [2_000]
        assert member.end() == 0
    consuming.every_receipt_is_published_once(14)


def test_a_member_that_waits_for_the_database_stops_when_asked(consuming: Consuming) -> None:
    parts = urlsplit(consuming.database_url)
    gate = Gate(parts.port or 5432)
    url = consuming.database_url.replace(f":{parts.port}/", f":{gate.port}/")
    member = consuming.member(DATABASE_URL=url)
    gate.shut()
    consuming.send(in_run(1))
    eventually(lambda: member.said("batch will be tried again"), "the member to notice")
    assert member.end(signal.SIGTERM) == 0
    consuming.member()
    consuming.all_committed()
    consuming.every_receipt_is_published_once(1)


def test_partitions_that_leave_during_a_wait_and_come_back_are_read(consuming: Consuming) -> None:
    parts = urlsplit(consuming.database_url)
    gate = Gate(parts.port or 5432)
    url = consuming.database_url.replace(f":{parts.port}/", f":{gate.port}/")
    waiting = consuming.member(DATABASE_URL=url)
    gate.shut()
    consuming.send(*(in_run(number) for number in range(70)))
    eventually(lambda: waiting.said("batch will be tried again"), "the member to wait")
    guest = consuming.member()
    eventually(lambda: assigned([waiting, guest]) == [9, 9], "each to hold its share")
    gate.open()
    consuming.all_committed()
    assert guest.end() == 0
    eventually(lambda: assigned([waiting]) == [18], "the first to hold all partitions again")
    consuming.send(*(in_run(number) for number in range(70, 140)))
    consuming.all_committed()
    consuming.every_receipt_is_published_once(140)
    assert waiting.end() == 0
    gate.shut()


def test_two_members_share_and_the_work_of_a_killed_one_moves(consuming: Consuming) -> None:
    first, second = consuming.member(), consuming.member()
    eventually(
        lambda: sum(assigned([first, second])) == 18 and min(assigned([first, second])) >= 8,
        "both members to hold their share of the eighteen partitions",
    )
    for start in range(0, 300, 100):
        consuming.send(*(in_run(number) for number in range(start, start + 100)))
    first.end(signal.SIGKILL)
    consuming.send(*(in_run(number) for number in range(300, 400)))
    consuming.all_committed()
    eventually(lambda: assigned([second]) == [18], "the survivor to hold all partitions")
    consuming.every_receipt_is_published_once(400)
    assert consuming.dead_letters() == []
    assert second.end() == 0


def test_a_member_without_topics_says_what_is_missing(
    kafka: str, migrated_database_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    with closing(Consuming(kafka, migrated_database_url, topic_prefix, tmp_path)) as consuming:
        member = consuming.member(ready=False, BILLING_TOPIC_PREFIX=f"{topic_prefix}absent.")
        eventually(lambda: member.said("kafka reported an error"), "the member to notice")
        assert member.probe("/readyz") == 503
        assert member.end() == 0


def test_the_dead_letter_limit_stops_a_bad_release_with_nothing_committed(
    consuming: Consuming,
) -> None:
    for _ in range(8):
        consuming.produce(CALLBACKS, b"one", b"{")
    consuming.flush()
    # One batch of all: fewer than five would be committed before the limit is reached.
    whole_batch = {"CONSUMER_BATCH_RECORDS": "8", "CONSUMER_BATCH_WAIT_MS": "5000"}
    bad = consuming.member(ready=False, program=BROKEN, CONSUMER_DEAD_LETTER_RUN="5", **whole_batch)
    assert exit_code(bad.process, "the bad release") == 1
    assert "stopped by the dead-letter limit: 5 records in a row" in bad.log.read_text()
    assert consuming.topics.since(DEAD_LETTERS, {}) == []
    # The same records stop no release that reads what is good.
    whole = consuming.member(CONSUMER_DEAD_LETTER_RUN="5")
    consuming.send(in_run(1))
    consuming.all_committed()
    consuming.every_receipt_is_published_once(1)
    assert len(consuming.topics.since(DEAD_LETTERS, {})) == 8
    assert whole.end() == 0


def ages(member: Member) -> dict[str, float]:
    """How long the oldest uncommitted callback of each partition has waited, by this member."""
    text = fetching.get(f"{member.metrics_url}/metrics").text
    return {
        sample.labels["partition"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "billing_consumer_oldest_uncommitted_seconds"
        and sample.labels["topic"].endswith(CALLBACKS)
    }


def test_the_age_of_what_a_frozen_member_holds_is_told_by_the_others(consuming: Consuming) -> None:
    # Long enough for the group to keep a member that is frozen for some seconds.
    frozen = consuming.member(CONSUMER_SESSION_TIMEOUT_MS="45000")
    other = consuming.member(CONSUMER_SESSION_TIMEOUT_MS="45000")
    eventually(lambda: assigned([frozen, other]) == [9, 9], "each to hold its share")
    consuming.send(*(in_run(number) for number in range(140)))
    consuming.all_committed()
    eventually(lambda: len(ages(other)) == 12, "every partition to be told")
    frozen.process.send_signal(signal.SIGSTOP)
    try:
        consuming.send(*(in_run(number) for number in range(140, 280)))
        found = eventually(
            lambda: {part: age for part, age in ages(other).items() if age > 3},
            "the age of what waits",
        )
        assert len(found) < 12
        # Nobody but the frozen member could commit them, and it exports nothing.
        assert len(consuming.tables.receipts()) < 280
    finally:
        frozen.process.send_signal(signal.SIGCONT)
    consuming.all_committed()
    eventually(lambda: max(ages(other).values()) == 0, "nothing to wait any more")
    consuming.every_receipt_is_published_once(280)


OPEN = "billing_consumer_oldest_open_transaction_seconds"


def test_events_behind_a_transaction_that_nobody_ends_are_told(consuming: Consuming) -> None:
    """Kafka 4.1 to 4.4 may leave one open: members are well, and subscribers see nothing."""
    other = Producer(
        {"bootstrap.servers": consuming.bootstrap, "transactional.id": f"{consuming.prefix}other"}
    )
    other.init_transactions(NET_SECONDS)
    other.begin_transaction()
    parts = len(consuming.topics.ends(RECEIPTS))
    for part in range(parts):
        other.produce(f"{consuming.prefix}{RECEIPTS}", b"never to be", b"", partition=part)
    other.flush(NET_SECONDS)
    member = consuming.member()
    consuming.send(*(in_run(number) for number in range(20)))
    consuming.all_committed()
    eventually(lambda: member.counted(OPEN) > 3 * parts, "the age of the open transactions")
    other.abort_transaction(NET_SECONDS)
    eventually(lambda: member.counted(OPEN) == 0, "no transaction to be open")
    consuming.every_receipt_is_published_once(20)


def test_a_partition_that_is_added_is_read_within_a_minute(consuming: Consuming) -> None:
    member = consuming.member()
    consuming.send(in_run(1))
    consuming.all_committed()
    # The callbacks' partitions may come first, and the others later.
    eventually(lambda: assigned([member]) == [18], "the member to hold all partitions")
    topic = consuming.prefix + CALLBACKS
    admin = AdminClient({"bootstrap.servers": consuming.bootstrap})
    admin.create_partitions([NewPartitions(topic, 13)])[topic].result(NET_SECONDS)
    eventually(lambda: unowned(member) == 1, "the new partition to be missed")
    eventually(lambda: assigned([member]) == [19], "the new partition to be read", 60)
    eventually(lambda: unowned(member) == 0, "nothing to be missed")


def unowned(member: Member) -> int:
    """How many partitions of the callbacks nobody reads, by this member."""
    text = fetching.get(f"{member.metrics_url}/metrics").text
    return sum(
        int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "billing_consumer_unowned_partitions"
        and sample.labels["topic"].endswith(CALLBACKS)
    )
