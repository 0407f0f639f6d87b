"""Whatever a producer writes onto the topics: the consumer lives and commits all of it."""

import json
import os
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from prometheus_client.parser import text_string_to_metric_families

from charging.decision import decide
from charging.outcomes import Decision, Parked
from charging.sample import decided_sample
from ledger.receipts import ReceiptWriter
from runtime.messages import record_of
from schemas.headers import LOST_NAME, SOURCE, FoundHeaders, header
from schemas.record import Record
from tests.clients import fetching
from tests.clients.raw_producer import RawHeaders, RawProducer, RawRecord
from tests.inputs.callbacks import element, in_run, policy
from tests.inputs.odd_records import odd_record
from tests.processes.consuming import CALLBACKS, DEAD_LETTERS, USAGE_UNITS, Consuming, Member
from tests.waiting import NET_SECONDS, eventually

RECORDS: Final = int(os.environ.get("TAKING_RECORDS", "400"))
SEED: Final = int(os.environ.get("TAKING_SEED", "5"))
A_BATCH: Final = 50 if RECORDS <= 1_000 else 500
ANY_TIME: Final = str(2**63 - 1)


@pytest.fixture
def raw(kafka: str) -> Iterator[RawProducer]:
    """A producer that knows no rules."""
    with closing(RawProducer(kafka)) as made:
        yield made


FOREVER: Final = "-1"
ANY_TIME_FOREVER: Final = {
    "message.timestamp.after.max.ms": ANY_TIME,
    "message.timestamp.before.max.ms": ANY_TIME,
    # Kafka looks every five minutes for segments whose records are all too old.
    "retention.ms": FOREVER,
}


def take_any_time(consuming: Consuming) -> None:
    """Let the topics take times of any year, as brokers before 4.0 do; some cannot be told.

    And keep what is dated so long ago that retention would delete it during the test.
    """
    admin = AdminClient({"bootstrap.servers": consuming.bootstrap})
    wanted = [
        ConfigResource(
            ResourceType.TOPIC,
            consuming.prefix + topic,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in ANY_TIME_FOREVER.items()
            ],
        )
        for topic in (CALLBACKS, USAGE_UNITS)
    ]
    for answer in admin.incremental_alter_configs(wanted).values():
        try:
            answer.result(NET_SECONDS)
        except KafkaException:
            continue


def decoded(headers: RawHeaders) -> FoundHeaders:
    """Headers as the client hands them out: no name that is no UTF-8, and none beyond a NUL."""
    pairs = []
    for name, value in headers:
        known = name.partition(b"\x00")[0]
        try:
            pairs.append((known.decode(), value))
        except UnicodeDecodeError:
            pairs.append((LOST_NAME, value))
    return pairs


def found(consuming: Consuming, topic: str) -> list[Record]:
    """Every committed record of a topic, headers in their order."""
    name, ends = consuming.prefix + topic, consuming.topics.ends(topic)
    reader = Consumer(
        {
            "bootstrap.servers": consuming.bootstrap,
            "group.id": f"{consuming.prefix}reader",
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "fetch.message.max.bytes": 64 * 1024 * 1024,
        }
    )
    read = list[Record]()
    try:
        reader.assign([TopicPartition(name, number, 0) for number, end in ends.items() if end])

        def whole() -> bool:
            read.extend(record_of(message) for message in reader.consume(500, 0.1))
            places = reader.position([TopicPartition(name, part) for part in ends if ends[part]])
            return all(place.offset >= ends[place.partition] for place in places)

        eventually(whole, f"the end of {name}")
    finally:
        reader.close()
    return read


def counted(member: Member, name: str) -> Mapping[tuple[str, ...], int]:
    """A counter of the consumer, by the values of its labels."""
    text = fetching.get(f"{member.metrics_url}/metrics").text
    return {
        tuple(sample.labels.values()): int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def counted_records(member: Member) -> int:
    """How many records have an outcome."""
    names = ("billing_consumer_records_total", "billing_consumer_usage_units_total")
    return sum(sum(counted(member, name).values()) for name in names)


def foreseen(topic: str, sent: RawRecord) -> Decision:
    """What a record must become."""
    taken = Record(topic, 0, 0, sent.timestamp_ms, sent.key, sent.value, decoded(sent.headers))
    return decide(taken, policy(free=()))


def good(number: int) -> RawRecord:
    """A call that must be billed."""
    return RawRecord(b"run-%d" % (number % 7), in_run(number), [(SOURCE.encode(), b"litellm")])


def spread(
    records: Sequence[RawRecord], rng: random.Random, count: int
) -> dict[int, list[RawRecord]]:
    """Records by partition, at random."""
    batches: dict[int, list[RawRecord]] = defaultdict(list)
    for record in records:
        batches[rng.randrange(count)].append(record)
    return batches


def test_02_a_header_name_that_is_no_utf8_stops_nobody(
    consuming: Consuming, raw: RawProducer
) -> None:
    """A call with such a header is billed to its source, and so is what is behind it."""
    odd: RawHeaders = [(b"\xff\xfebad", b"1"), (b"source", b"litellm/eu")]
    raw.send(
        consuming.prefix + CALLBACKS,
        {0: [RawRecord(b"k", in_run(1), odd), RawRecord(b"k", b"broken", odd), good(2)]},
    )
    member = consuming.member()
    consuming.all_committed()
    rows = consuming.tables.receipts()
    assert [row["source_system"] for row in rows] == ["litellm/eu", "litellm"]
    [letter] = found(consuming, DEAD_LETTERS)
    assert (letter.key, letter.value) == (b"k", b"broken")
    assert letter.headers[:2] == [(LOST_NAME, b"1"), ("source", b"litellm/eu")]
    assert header(letter.headers, "header-names-lost") == "1"
    assert member.end() == 0


def test_NOTHING_VANISHES_whatever_is_written_onto_the_topics(
    consuming: Consuming, raw: RawProducer
) -> None:
    """Random records among good ones, TAKING_RECORDS of them, begun from TAKING_SEED."""
    take_any_time(consuming)
    rng, sent = random.Random(SEED), dict[tuple[str, int], list[RawRecord]]()  # noqa: S311
    member = consuming.member(CONSUMER_DEAD_LETTER_SHARE="0.5")
    for start in range(0, RECORDS, A_BATCH):
        odd = [odd_record(rng, number) for number in range(start, start + A_BATCH)]
        for topic, count, mine in (
            (CALLBACKS, 12, [*odd[:-5], good(start)]),
            (USAGE_UNITS, 6, odd[-5:]),
        ):
            batches = spread(mine, rng, count)
            raw.send(consuming.prefix + topic, batches)
            for partition, records in batches.items():
                sent.setdefault((topic, partition), []).extend(records)
    consuming.all_committed()
    consuming.topics.wait_until_consumed(USAGE_UNITS)
    total = sum(map(len, sent.values()))
    eventually(lambda: counted_records(member) == total, f"{total} counted records")
    assert member.process.poll() is None
    for number in range(0, RECORDS, A_BATCH):
        assert consuming.tables.receipts(litellm_call_id=f"call-{number}"), number
    expected = {
        (consuming.prefix + topic, partition, offset): record
        for (topic, partition), records in sent.items()
        for offset, record in enumerate(records)
        if isinstance(foreseen(topic, record), Parked)
    }
    kept = {place_of(letter): letter for letter in found(consuming, DEAD_LETTERS)}
    assert kept.keys() == expected.keys()
    for place, record in expected.items():
        letter, headers = kept[place], decoded(record.headers)
        assert (letter.key, letter.value) == (record.key, record.value), place
        assert letter.headers[: len(headers)] == headers, place
    assert member.end() == 0
    # Whatever else reads the topics reads them to their ends as well.
    listed = json.loads(consuming.command("dead-letters", "list", "--json", "--limit", "9999999"))
    assert len(listed) == len(expected)
    assert f"send {len(expected)} back" in consuming.command("dead-letters", "replay")
    said = " ".join(consuming.command("replay", "--from-offset", "0:0").split())
    assert "dry run" in said
    assert "BILLING_CREDITS=true" in said


def place_of(letter: Record) -> tuple[str, int, int]:
    """Where a dead letter stood."""
    said = [header(letter.headers, f"original-{name}") for name in ("topic", "partition", "offset")]
    return str(said[0]), int(said[1] or -1), int(said[2] or -1)


def test_a_record_larger_than_any_topic_takes_is_kept_in_parts(
    consuming: Consuming, raw: RawProducer
) -> None:
    """Kafka bounds compressed batches: 24 MB of one letter pass as a few kilobytes."""
    value = b'{"id": "' + b"x" * 24_000_000
    batch = [RawRecord(b"k", value, [(b"source", b"litellm")]), good(1)]
    raw.send(consuming.prefix + CALLBACKS, {0: batch}, compressed=True)
    consuming.member()
    consuming.all_committed()
    letters = found(consuming, DEAD_LETTERS)
    numbered = {int(header(letter.headers, "part-index") or -1): letter for letter in letters}
    assert b"".join(numbered[number].value or b"" for number in range(len(letters))) == value
    assert {header(letter.headers, "reason") for letter in letters} == {"unreadable"}
    consuming.every_receipt_is_published_once(1)


def test_no_flood_of_bad_records_stops_the_others(consuming: Consuming) -> None:
    """The limit counts what a bad release can cause, and this release reads its sample."""
    member = consuming.member(CONSUMER_DEAD_LETTER_SHARE="0.5")
    bad = [element(id=f"bad-{number}", status=None) for number in range(1_100)]
    consuming.send(*bad, in_run(1), in_run(2))
    consuming.all_committed()
    consuming.every_receipt_is_published_once(2)
    assert len(found(consuming, DEAD_LETTERS)) == len(bad)
    assert counted(member, "billing_consumer_dead_letter_limit_total")["read",] >= 1
    assert member.end() == 0


def test_the_ledger_says_whether_it_takes_the_sample_and_keeps_nothing(
    ledger: ReceiptWriter, migrated_database_url: str
) -> None:
    sample = decided_sample(lambda record: decide(record, policy()))
    assert sample is not None
    assert ledger.takes(sample)
    refuse = "ALTER TABLE billing.charge_receipts ADD CHECK (source_system <> 'sample')"
    with psycopg.connect(migrated_database_url) as connection:
        assert connection.execute("SELECT count(*) FROM billing.charge_receipts").fetchone() == (0,)
        connection.execute(refuse)
    assert not ledger.takes(sample)
    assert ledger.write([sample])[0].reason == "unstorable"
