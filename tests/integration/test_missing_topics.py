"""A topic that is not there: looked for, not made by that, and the others are looked at."""

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from consumer import backlog
from consumer.backlog import Backlog
from tests.brokers.apache_kafka import ApacheKafka
from tests.brokers.broker import missing_for_apache
from tests.brokers.jars import fetch_jars
from tests.brokers.made_topics import await_topics
from tests.waiting import NET_SECONDS, eventually

GROUP = "billing_consumer_backlog_look_timestamp_seconds"
TOPIC = "billing_consumer_hidden_look_timestamp_seconds"
WRITTEN = ["deleted", "absent", "there"]
pytestmark = [
    pytest.mark.skipif(bool(missing_for_apache()), reason=str(missing_for_apache())),
    # What the consumer asks for members with; why: consumer/group.py.
    pytest.mark.filterwarnings("ignore:list_groups:DeprecationWarning"),
]


@pytest.fixture
def bootstrap(tmp_path: Path) -> Iterator[str]:
    """A broker that makes a topic when somebody asks for it."""
    kafka = ApacheKafka(fetch_jars(print), tmp_path, heap="512m", makes_topics=True)
    try:
        kafka.start()
        yield kafka.bootstrap
    finally:
        kafka.remove()


@pytest.fixture
def admin(bootstrap: str) -> AdminClient:
    """A client with its own defaults, after it has made two topics."""
    client = AdminClient({"bootstrap.servers": bootstrap})
    made = client.create_topics([NewTopic("there", 2), NewTopic("deleted", 1)])
    for future in made.values():
        future.result(NET_SECONDS)
    await_topics(bootstrap, [("there", 2), ("deleted", 1)])
    return client


def topics(admin: AdminClient) -> set[str]:
    """The topics of the cluster."""
    return set(admin.list_topics(timeout=NET_SECONDS).topics) - {"__consumer_offsets"}


def looked_at(topic: str) -> float:
    """When a look at it last succeeded; 0 where none has."""
    found = REGISTRY.get_sample_value(TOPIC, {"topic": topic})
    assert found is not None
    return found


def looked_since(topic: str, moment: float) -> bool:
    """Whether a look at it has succeeded since then."""
    return looked_at(topic) > moment


def look_again(topic: str) -> None:
    """Wait for a look at it that began after now."""
    for _ in range(2):
        eventually(partial(looked_since, topic, time.time()), f"a look at {topic}")


def test_topics_that_are_not_there_are_not_made_and_hide_nothing_of_the_others(
    bootstrap: str, admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "_EVERY_SECONDS", 0.2)
    config = {"bootstrap.servers": bootstrap, "log_level": 0}
    with capture_logs() as said, closing(Backlog(config, "group", ["there"], WRITTEN)) as looking:
        looking.start()
        look_again("there")
        look_again("deleted")
        admin.delete_topics(["deleted"])["deleted"].result(NET_SECONDS)
        gone = eventually(
            lambda: [line for line in said if line.get("topic") == "deleted"],
            "it to be missed",
            30,  # before a line that was held back would be said
        )
        missed = looked_at("deleted")
        look_again("there")
        look_again("there")
    assert {line["topic"] for line in said if "topic" in line} == {"deleted", "absent"}
    assert [line["event"] for line in gone] == ["a written topic cannot be looked at"]
    assert (looked_at("absent"), looked_at("deleted")) == (0, missed)
    assert (REGISTRY.get_sample_value(GROUP) or 0) > missed
    assert topics(admin) == {"there"}
    # The broker does make what it is asked for.
    admin.list_topics("asked", timeout=NET_SECONDS)
    eventually(lambda: topics(admin) == {"there", "asked"}, "a topic to be made")
