"""Who publishes the events of accounts: one process at a time, each event once."""

import random
from collections import Counter
from contextlib import closing, suppress

import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException

from ledger.credit_events import CreditEvents
from ledger.credits import Credits
from tests.databases.writing import ROLE
from tests.integration.event_publishers import CrashError, Publishers
from tests.integration.moved_credits import TOPIC, grant, told, waiting
from tests.processes.consuming import Consuming


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
