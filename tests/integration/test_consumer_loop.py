"""The consumer as a process: callbacks in, receipts, events and dead letters out, once."""

import json
import random
import signal
import time
from collections import Counter
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
from prometheus_client.parser import text_string_to_metric_families

from charging.decision import decide
from charging.outcomes import Decided
from ledger.receipts import ReceiptWriter
from tests.clients import fetching
from tests.inputs import captures
from tests.inputs.callbacks import costing, element, in_run, policy, record, usage_unit
from tests.network.gate import Gate
from tests.processes.consuming import (
    CALLBACKS,
    USAGE_UNITS,
    Consuming,
    Member,
)
from tests.waiting import eventually


def counts(member: Member) -> Counter[str]:
    """`billing_consumer_records_total` by outcome."""
    text = fetching.get(f"{member.metrics_url}/metrics").text
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "billing_consumer_records_total":
                found[sample.labels["outcome"]] += int(sample.value)
    return +found


HOSTILE = [
    b"",
    b"null",
    b"[1, 2]",
    b"{",
    b"\xff\x00",
    element(status=None),
    element(id=None, litellm_call_id=None),
    b"[" * 100_000,
]
NO_MONEY = [costing(cost, id=f"cost {cost}") for cost in ("-1", "1e400", '"0.1"')]


def test_NOTHING_VANISHES(consuming: Consuming) -> None:
    """Consumed = created + duplicate + conflict + deferred + skipped + parked."""
    rng = random.Random(7)  # noqa: S311 - a test's shuffle
    values = captures.all_elements() * 3 + (HOSTILE + NO_MONEY) * 2 + [costing("1"), costing("2")]
    rng.shuffle(values)
    member = consuming.member(BILLING_FREE_MODELS=captures.FREE_MODELS)
    consuming.send(*values)
    consuming.all_committed()
    lines = Counter(line.verdict for line in captures.expectations())
    eventually(lambda: counts(member).total() == len(values), f"{len(values)} counted records")
    found = counts(member)
    assert found["created"] == lines["RECEIPT"] + 1
    assert found["deferred"] == lines["DEFER"] + len(NO_MONEY)
    assert found["conflict"] == 1
    assert found["skipped"] == 3 * lines["SKIP"]
    assert found["parked"] == 2 * len(HOSTILE)
    consuming.every_receipt_is_published_once(lines["RECEIPT"] + 1)
    assert Counter(letter.value for letter in consuming.dead_letters()) == Counter(HOSTILE * 2)
    assert member.end() == 0


def test_ONE_RUN_ONE_PARTITION_for_callbacks_and_receipts(consuming: Consuming) -> None:
    consuming.send(*(in_run(number) for number in range(70)))
    consuming.member()
    consuming.all_committed()
    for records in (consuming.topics.since(CALLBACKS, {}), consuming.events()):
        homes: dict[bytes, set[int]] = {}
        for one in records:
            homes.setdefault(one.key, set()).add(one.partition)
        assert set(homes) == {f"run-{n}".encode() for n in range(7)}
        assert all(len(partitions) == 1 for partitions in homes.values())
        assert len(set.union(*homes.values())) > 1
    events = {one.key: one.partition for one in consuming.events()}
    callbacks = {one.key: one.partition for one in consuming.topics.since(CALLBACKS, {})}
    assert events == callbacks


def test_a_dead_letter_is_the_record_and_says_why_and_where(consuming: Consuming) -> None:
    consuming.member()
    headers = [("source", b"litellm/eu"), ("x", b"one"), ("x", b"\xff two"), ("empty", b"")]
    bad = element(status=None)
    consuming.send(bad, headers=headers)
    consuming.all_committed()
    [letter] = consuming.dead_letters()
    [sent] = consuming.topics.since(CALLBACKS, {})
    assert (letter.key, letter.value) == (sent.key, bad)
    assert {name: letter.headers[name] for name in ("source", "x", "empty")} == {
        "source": b"litellm/eu",
        "x": b"\xff two",
        "empty": b"",
    }
    assert letter.headers["reason"] == b"contract_broken"
    assert letter.headers["original-topic"] == f"{consuming.prefix}{CALLBACKS}".encode()
    assert int(letter.headers["original-partition"]) == sent.partition
    assert int(letter.headers["original-offset"]) == sent.offset
    assert abs(int(letter.headers["original-timestamp"]) / 1_000 - time.time()) < 600
    assert letter.headers["consumer-group"] == consuming.group.encode()
    assert letter.headers["application-version"]
    assert consuming.tables.receipts() == []


def test_the_largest_record_that_the_topic_takes_can_be_a_dead_letter(
    consuming: Consuming,
) -> None:
    consuming.member()
    value = b'{"id": 5, "x": "' + b"y" * (10_485_760 - 10_000) + b'"}'
    many = [(f"header-{number}", b"h" * 100) for number in range(50)]
    consuming.send(value, in_run(1), headers=many)
    consuming.all_committed()
    [letter] = consuming.dead_letters()
    assert letter.value == value
    consuming.every_receipt_is_published_once(1)


def test_a_hostile_client_stops_nobody(consuming: Consuming) -> None:
    """Tags without end would make an event that no topic takes, and a partition that stands."""
    consuming.member()
    # A batch is compressed before the broker judges its size, so the text must not repeat itself.
    rng = random.Random(13)  # noqa: S311 - a test's noise
    tags = [rng.randbytes(500).hex() for _ in range(3_000)]
    consuming.send(in_run(1, request_tags=tags), in_run(8), in_run(15))
    consuming.all_committed()
    consuming.every_receipt_is_published_once(3)


def test_two_calls_of_125_hundred_millionths_with_markup_two_cost_25_credits_each(
    consuming: Consuming,
) -> None:
    consuming.member(BILLING_MARKUP="2")
    consuming.send(costing("1.25e-06", id="a"), costing("0.00000125", id="b"))
    consuming.all_committed()
    assert [row["charged_credits"] for row in consuming.tables.receipts()] == [25, 25]
    for event in consuming.events():
        data = json.loads(event.value)
        assert (data["charged_credits"], data["response_cost_usd"]) == (25, "0.00000125")


def test_a_later_callback_with_a_cost_closes_the_deferral(consuming: Consuming) -> None:
    consuming.member()
    consuming.send(element(response_cost=0))
    consuming.all_committed()
    [row] = consuming.tables.deferred()
    assert (row["reason"], row["resolved_at"]) == ("suspicious_zero", None)
    assert consuming.events() == []
    consuming.send(element())
    consuming.all_committed()
    [row] = consuming.tables.deferred()
    assert row["resolution"] == "callback"
    consuming.every_receipt_is_published_once(1)


def test_ADAPTERS_NEVER_BILL_usage_units_are_kept_and_bad_ones_parked(
    consuming: Consuming,
) -> None:
    consuming.member()
    for value in (json.dumps(usage_unit()).encode(), b'{"unit_id": "x"}', element()):
        consuming.produce(USAGE_UNITS, b"run-1", value)
    consuming.flush()
    consuming.topics.wait_until_consumed(USAGE_UNITS)
    assert len(consuming.tables.usage_units()) == 1
    assert consuming.tables.receipts() == []
    assert len(consuming.dead_letters()) == 2


def crash_after_the_write(consuming: Consuming, count: int) -> None:
    """What a member leaves that is killed between PostgreSQL's commit and Kafka's."""
    sent = consuming.topics.since(CALLBACKS, {})
    topic = consuming.prefix + CALLBACKS
    decisions = []
    for one in sent[:count]:
        taken = record(one.value, offset=one.offset, partition=one.partition, topic=topic)
        decisions.append(Decided(taken, decide(taken, policy())))
    with closing(ReceiptWriter(consuming.database_url, "billing_consumer")) as ledger:
        found = ledger.write(decisions)
    assert {outcome.outcome for outcome in found} == {"created"}


def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_after_a_crash_between_the_two_commits(
    consuming: Consuming,
) -> None:
    consuming.send(*(in_run(number) for number in range(30)))
    crash_after_the_write(consuming, 20)
    before = consuming.tables.snapshot()["charge_receipts"]
    # The same calls from the sender again, as other records: duplicates, not published again.
    consuming.send(*(in_run(number) for number in range(30)))
    member = consuming.member()
    consuming.all_committed()
    consuming.every_receipt_is_published_once(30)
    assert set(before) <= set(consuming.tables.snapshot()["charge_receipts"])
    eventually(lambda: counts(member).total() == 60, "sixty counted records")
    assert counts(member) == {"created": 10, "duplicate": 50}


def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_over_kills_without_warning(consuming: Consuming) -> None:
    """SIGKILL in the middle of work, again and again; a subscriber sees each receipt once."""
    rng = random.Random(11)  # noqa: S311 - a test's choice of moments
    total = 0
    for _ in range(2):
        member = consuming.member(
            ready=False, CONSUMER_BATCH_RECORDS="25", CONSUMER_TRANSACTION_TIMEOUT_MS="3000"
        )
        for _ in range(20):
            consuming.send(*(in_run(total + number) for number in range(25)))
            total += 25
        wanted = rng.randint(1, 400) + total - 500
        eventually(
            lambda: len(consuming.tables.receipts()) >= wanted,  # noqa: B023 - called at once
            "some of the receipts",
        )
        member.end(signal.SIGKILL)
    survivor = consuming.member()
    consuming.all_committed()
    consuming.every_receipt_is_published_once(total)
    assert consuming.dead_letters() == []
    assert survivor.end() == 0


def test_COMMIT_AFTER_WRITE_offsets_stand_still_while_the_database_is_away(
    consuming: Consuming,
) -> None:
    parts = urlsplit(consuming.database_url)
    gate = Gate(parts.port or 5432)
    url = consuming.database_url.replace(f":{parts.port}/", f":{gate.port}/")
    member = consuming.member(DATABASE_URL=url)
    consuming.send(*(in_run(number) for number in range(10)))
    consuming.all_committed()
    before = consuming.committed()
    gate.shut()
    consuming.send(*(in_run(number) for number in range(10, 20)), element(status=None))
    eventually(lambda: member.said("batch will be tried again", 5), "five tries of the member")
    assert member.probe("/readyz") == 503
    assert member.probe("/livez") == 200
    assert len(consuming.tables.receipts()) == 10
    assert len(consuming.events()) == 10
    assert consuming.dead_letters() == []
    assert consuming.committed() == before
    gate.open()
    consuming.all_committed()
    consuming.every_receipt_is_published_once(20)
    assert len(consuming.dead_letters()) == 1
    eventually(lambda: member.probe("/readyz") == 200, "the member to be ready again")
    assert member.end() == 0
    gate.shut()


def test_terminated_sessions_under_load_cost_nothing(consuming: Consuming) -> None:
    member = consuming.member(CONSUMER_BATCH_RECORDS="20")
    for start in range(0, 400, 100):
        consuming.send(*(in_run(number) for number in range(start, start + 100)))
        with psycopg.connect(consuming.database_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE starts_with(application_name, 'billing-consumer')"
                " AND datname = current_database()"
            )
    consuming.all_committed()
    consuming.every_receipt_is_published_once(400)
    assert consuming.dead_letters() == []
    assert member.end() == 0
