"""Events of accounts: what other teams read on `billing.credits.v1`, each once."""

import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer.credit_events import CreditEventPublisher, EventTopic
from ledger.accounts import Limit, Movement
from ledger.credit_events import CreditEvents, Numbered
from ledger.credits import Credits
from ledger.holds import Holds
from tests.databases.writing import ROLE
from tests.inputs.callbacks import costing
from tests.observers.topics import TopicRecord
from tests.processes.consuming import Consuming
from tests.waiting import NET_SECONDS, eventually

TOPIC = "billing.credits.v1"
GUARD = "billing_guard"
THRESHOLDS = (1_000, 100)


@pytest.fixture
def accounts(migrated_database_url: str) -> Iterator[Credits]:
    """Credits as the guard moves them."""
    with closing(Credits(migrated_database_url, GUARD, "tests", THRESHOLDS)) as opened:
        yield opened


def grant(accounts: Credits, account: str, amount: int, reference: str) -> None:
    """Move credits: granted, or taken by a correction."""
    reason = "grant" if amount > 0 else "correction"
    movement = Movement(account, reason, reference, amount, "ann", "")  # type: ignore[arg-type]
    assert accounts.post(movement, "open").created


def put_overdue_hold(url: str, account: str, amount: int) -> None:
    """Hold credits for a call whose time is over."""
    with psycopg.connect(url) as admin:
        admin.execute(
            "UPDATE billing.credit_accounts SET held = held + %s WHERE billing_account_id = %s",
            [amount, account],
        )
        admin.execute(
            "INSERT INTO billing.credit_holds (billing_account_id, litellm_call_id, nonce, amount,"
            " run_id, expires_at) VALUES (%s, 'call-9', 'n', %s, 'run-7', now())",
            [account, amount],
        )


def waiting(url: str) -> list[tuple[Any, ...]]:
    """What waits to be published, in the order in which it happened."""
    with psycopg.connect(url) as admin:
        return admin.execute(
            "SELECT event_id::text, type, billing_account_id FROM billing.credit_events ORDER BY id"
        ).fetchall()


def told(records: Sequence[TopicRecord]) -> list[tuple[str, str, int | None]]:
    """Account, type and balance of each event."""
    values = [json.loads(record.value) for record in records]
    return [(one["billing_account_id"], one["type"], one["balance"]) for one in values]


def test_what_happens_to_an_account_is_told(
    consuming: Consuming, accounts: Credits, migrated_database_url: str
) -> None:
    grant(accounts, "acct-1", 1_200, "first")
    with closing(Holds(migrated_database_url, GUARD)) as holds:
        put_overdue_hold(migrated_database_url, "acct-1", 77)
        assert holds.expire(10) == 1
    consuming.member(BILLING_CREDIT_THRESHOLDS_USD="0.0001, 0.00001")
    # 300, 900 and 1 credits.
    consuming.send(costing("0.00003", id="1"))
    consuming.all_committed()
    consuming.send(costing("0.00009", id="2"))
    consuming.all_committed()
    consuming.send(costing("0.0000001", id="3"))
    consuming.all_committed()

    def records() -> list[TopicRecord]:
        found = consuming.topics.since(TOPIC, {})
        return found if len(found) >= 5 else []

    found = eventually(records, "five events")
    assert told(found) == [
        ("acct-1", "topped_up", 1_200),
        ("acct-1", "hold_expired", 1_200),
        ("acct-1", "threshold_crossed", 900),
        ("acct-1", "threshold_crossed", 0),
        ("acct-1", "exhausted", 0),
    ]
    values = [json.loads(record.value) for record in found]
    assert [one["threshold"] for one in values] == [None, None, 1_000, 100, None]
    assert (values[0]["amount"], values[0]["reason"]) == (1_200, "grant")
    expired = values[1]
    assert (expired["amount"], expired["litellm_call_id"], expired["run_id"]) == (
        77,
        "call-9",
        "run-7",
    )
    assert {one["kind"] for one in values} == {"prepaid"}
    for record, value in zip(found, values, strict=True):
        headers = {name: text.decode() for name, text in record.headers.items()}
        assert record.key == b"acct-1"
        assert headers == {
            "ce_id": value["id"],
            "ce_source": "/billing/credits",
            "ce_type": f"billing.credits.{value['type']}.v1",
            "ce_specversion": "1.0",
            "ce_subject": "acct-1",
            "ce_time": value["occurred_at"],
            "content-type": "application/json",
            "ce_partitionkey": "acct-1",
        }
    eventually(lambda: not waiting(migrated_database_url), "nothing to wait any more")
    [member] = consuming.members
    assert member.counted("billing_consumer_credit_events_total") == 5


def test_a_lower_limit_and_a_correction_are_told_as_what_they_leave(
    accounts: Credits, migrated_database_url: str
) -> None:
    accounts.open_account(Limit("acme", "postpaid", 5_000, "ann"))
    accounts.set_limit(Limit("acme", "postpaid", 500, "ann"))
    grant(accounts, "acme", -450, "fee")
    accounts.set_limit(Limit("acme", "postpaid", 450, "ann"))
    accounts.set_limit(Limit("acme", "postpaid", None, "ann"))
    accounts.set_limit(Limit("acme", "prepaid", None, "ann"))
    types = [kind for _, kind, _ in waiting(migrated_database_url)]
    crossed = "threshold_crossed"
    assert types == [crossed, crossed, "exhausted", crossed, crossed, "exhausted"]


def test_receipts_do_not_wait_for_a_topic_that_is_not_there(
    consuming: Consuming, accounts: Credits, migrated_database_url: str
) -> None:
    admin, name = AdminClient({"bootstrap.servers": consuming.bootstrap}), consuming.prefix + TOPIC
    admin.delete_topics([name])[name].result(NET_SECONDS)
    grant(accounts, "acct-1", 100, "first")
    member = consuming.member(BILLING_CREDIT_THRESHOLDS_USD="none")
    consuming.send(costing("0.00003", id="1"))
    consuming.all_committed()
    assert len(consuming.tables.receipts()) == 1
    fault = "billing_consumer_credit_event_faults_total"
    eventually(lambda: member.counted(fault) > 0, "a failed try to be counted")
    assert member.said("credit events are not published")
    oldest = "billing_consumer_credit_events_oldest_seconds"
    eventually(lambda: member.counted(oldest) > 0, "the age of what waits")
    assert len(waiting(migrated_database_url)) == 2
    admin.create_topics([NewTopic(name, 3, 1)])[name].result(NET_SECONDS)
    eventually(lambda: not waiting(migrated_database_url), "the events to be published")
    events = consuming.topics.since(TOPIC, {})
    assert told(events) == [("acct-1", "topped_up", 100), ("acct-1", "exhausted", -200)]


def test_movements_by_hand_are_told_where_receipts_are_not_debited(
    consuming: Consuming, accounts: Credits, migrated_database_url: str
) -> None:
    grant(accounts, "acct-1", 100, "first")
    consuming.member(BILLING_CREDITS="false")
    eventually(lambda: not waiting(migrated_database_url), "the event to be published")
    assert told(consuming.topics.since(TOPIC, {})) == [("acct-1", "topped_up", 100)]


class CrashError(Exception):
    """The process ends here."""


class CrashingTopic(EventTopic):
    """Ends before or behind a commit, and leaves the transaction as it is."""

    crash = ""

    def publish(self, events: Sequence[Numbered]) -> None:
        if self.crash == "before":
            self._producer.begin_transaction()
            self._producer.produce(self._topic, b"never committed", b"k")
            self._producer.flush(NET_SECONDS)
            raise CrashError
        super().publish(events)
        if self.crash == "behind":
            raise CrashError


class CrashingEvents(CreditEvents):
    """Ends once the events have their numbers."""

    crash = ""

    def batch(self, holder: str, seconds: float, published: int, limit: int) -> list[Numbered]:
        found = super().batch(holder, seconds, published, limit)
        if self.crash == "numbered" and found:
            raise CrashError
        return found


class Publishers:
    """Processes that publish, one after the other or at once."""

    def __init__(self, kafka: str, topic: str, url: str) -> None:
        common: dict[str, Any] = {"bootstrap.servers": kafka, "log_level": 0}
        group = f"{topic}-publishers"
        self._topic = partial(
            CrashingTopic,
            common | {"transactional.id": group, "acks": "all", "linger.ms": 1_000},
            common | {"group.id": group, "isolation.level": "read_committed"},
            topic,
        )
        self._url = url
        self._left = ExitStack()

    def new(self, crash: str = "") -> CreditEventPublisher:
        """A process that ends at a step, or at none."""
        events = self._left.enter_context(closing(CrashingEvents(self._url, ROLE)))
        events.crash = crash

        def make() -> EventTopic:
            topic = self._left.enter_context(closing(self._topic()))
            topic.crash = crash
            return topic

        return CreditEventPublisher(events, make, uuid4().hex)

    def close(self) -> None:
        """Close what crashes have left open."""
        self._left.close()

    def free(self) -> None:
        """The time of whoever publishes is over."""
        with psycopg.connect(self._url) as admin:
            admin.execute("UPDATE billing.credit_event_publisher SET until = now()")


@pytest.fixture
def publishers(
    consuming: Consuming, kafka: str, migrated_database_url: str
) -> Iterator[Publishers]:
    topic = consuming.prefix + TOPIC
    with closing(Publishers(kafka, topic, migrated_database_url)) as made:
        yield made


def test_a_crash_at_any_step_leaves_each_event_published_once(
    publishers: Publishers, consuming: Consuming, accounts: Credits, migrated_database_url: str
) -> None:
    randomly, happened = random.Random(7), list[str]()  # noqa: S311 - no secret
    # A process that is there all the time, and is replaced by others now and then.
    kept, refusals = publishers.new(), list[int]()
    for number in range(24):
        before = len(waiting(migrated_database_url))
        for movement in range(randomly.randrange(1, 4)):
            grant(accounts, f"acct-{movement}", 5, f"{number}/{movement}")
        happened += [one for one, *_ in waiting(migrated_database_url)[before:]]
        if randomly.random() < 0.8:
            publishers.free()
        if randomly.random() < 0.2:
            try:
                kept.turn()
            except KafkaException as error:
                refusals.append(error.args[0].code())
        else:
            crash = randomly.choice(["", "numbered", "before", "behind"])
            with suppress(CrashError):
                publishers.new(crash).turn()
    assert set(refusals) <= {KafkaError._FENCED}  # noqa: SLF001 - librdkafka's own name
    publishers.free()
    publishers.new().turn()
    assert waiting(migrated_database_url) == []
    published = [record.headers["ce_id"].decode() for record in consuming.topics.since(TOPIC, {})]
    assert Counter(published) == Counter(happened)


def test_only_one_process_publishes_at_a_time(
    publishers: Publishers, accounts: Credits, migrated_database_url: str
) -> None:
    grant(accounts, "acme", 5, "first")
    publishers.new().turn()
    grant(accounts, "acme", 5, "second")
    publishers.new().turn()
    assert len(waiting(migrated_database_url)) == 1
    publishers.free()
    publishers.new().turn()
    assert waiting(migrated_database_url) == []


def test_a_time_that_a_wrong_clock_has_given_keeps_nobody_from_publishing(
    publishers: Publishers, accounts: Credits, migrated_database_url: str
) -> None:
    """PostgreSQL's clock has gone back, or the server that took over is behind."""
    grant(accounts, "acme", 5, "first")
    with psycopg.connect(migrated_database_url) as admin:
        admin.execute(
            "UPDATE billing.credit_event_publisher"
            " SET holder = 'gone', until = now() + interval '1 day'"
        )
    publishers.new().turn()
    assert waiting(migrated_database_url) == []


class Watched(CreditEvents):
    """Events that say how their sessions commit."""

    def commits(self) -> str:
        """The setting within a transaction."""
        with self._transaction() as cursor:
            [value] = cursor.execute("SHOW synchronous_commit").fetchone() or [""]
            return str(value)


@pytest.mark.parametrize(("given", "taken"), [("off", "on"), ("remote_write", "remote_write")])
def test_a_number_outlives_a_crash_of_the_server_before_its_event_is_published(
    migrated_database_url: str, given: str, taken: str
) -> None:
    """One that was lost would be given anew, and the event published twice."""
    url = f"{migrated_database_url}?options=-csynchronous_commit%3D{given}"
    with closing(Watched(url, ROLE)) as events:
        assert events.commits() == taken


def test_a_ledger_that_knows_less_than_kafka_publishes_what_is_new(
    publishers: Publishers, consuming: Consuming, accounts: Credits, migrated_database_url: str
) -> None:
    for number in range(3):
        grant(accounts, "acme", 5, f"before-{number}")
    publishers.new().turn()
    with psycopg.connect(migrated_database_url) as admin:
        admin.execute("UPDATE billing.credit_event_publisher SET last_sequence = 0, until = now()")
    grant(accounts, "acme", 5, "behind")
    publishers.new().turn()
    assert waiting(migrated_database_url) == []
    events = consuming.topics.since(TOPIC, {})
    assert [balance for _, _, balance in told(events)] == [5, 10, 15, 20]
