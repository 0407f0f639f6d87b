"""Open transactions: each topic is looked at by itself, and tells when it was."""

import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from prometheus_client import REGISTRY

from consumer.hidden import Hidden

AGE = "billing_consumer_oldest_open_transaction_seconds"
LOOKED = "billing_consumer_hidden_look_timestamp_seconds"
END = 40


class Cluster:
    """Tells the offsets of its topics; each has an end, and may have an open transaction."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.open: dict[str, int] = {}
        self.broken: set[str] = set()

    def hidden(self, *topics: str) -> Hidden:
        """What looks at it."""
        admin = create_autospec(AdminClient, instance=True)
        admin.list_offsets = self._list_offsets
        return Hidden(admin, topics, lambda: self.now)

    def _list_offsets(
        self, asked: Mapping[TopicPartition, object], isolation_level: IsolationLevel, **_: object
    ) -> dict[TopicPartition, Future[Any]]:
        return {part: self._answer(part, isolation_level) for part in asked}

    def _answer(self, part: TopicPartition, level: IsolationLevel) -> Future[Any]:
        answer = Future[Any]()
        if part.topic in self.broken:
            answer.set_exception(KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE)))
        else:
            seen = END if level == IsolationLevel.READ_UNCOMMITTED else self.open.get(part.topic)
            answer.set_result(SimpleNamespace(offset=END if seen is None else seen))
        return answer


@pytest.fixture
def cluster() -> Cluster:
    """Nothing of it is open, and nothing broken."""
    return Cluster()


@pytest.fixture
def receipts() -> str:
    """A topic of this test."""
    return f"receipts-{uuid.uuid4().hex}"


@pytest.fixture
def letters() -> str:
    """Another one."""
    return f"letters-{uuid.uuid4().hex}"


def looked(topic: str) -> float | None:
    """When a look at it last succeeded, as it is scraped."""
    return REGISTRY.get_sample_value(LOOKED, {"topic": topic})


def age(topic: str) -> float | None:
    """How old its open transaction is, as it is scraped."""
    return REGISTRY.get_sample_value(AGE, {"topic": topic, "partition": "0"})


def test_a_topic_that_was_never_looked_at_is_told_of(cluster: Cluster, receipts: str) -> None:
    hidden = cluster.hidden(receipts)
    assert looked(receipts) == 0
    cluster.broken.add(receipts)
    with pytest.raises(KafkaException):
        hidden.look(receipts, [0])
    assert looked(receipts) == 0


def test_a_look_that_fails_is_none_and_what_was_seen_goes_on_ageing(
    cluster: Cluster, receipts: str
) -> None:
    hidden, cluster.open[receipts] = cluster.hidden(receipts), 7
    hidden.look(receipts, [0])
    assert (looked(receipts), age(receipts)) == (1_000, 0)
    cluster.now += 50
    cluster.broken.add(receipts)
    with pytest.raises(KafkaException):
        hidden.look(receipts, [0])
    assert (looked(receipts), age(receipts)) == (1_000, 50)
    cluster.broken.clear()
    hidden.look(receipts, [0])
    assert (looked(receipts), age(receipts)) == (1_050, 50)
    del cluster.open[receipts]
    hidden.look(receipts, [0])
    assert age(receipts) == 0


def test_a_look_at_one_topic_says_nothing_of_another(
    cluster: Cluster, receipts: str, letters: str
) -> None:
    hidden = cluster.hidden(receipts, letters)
    cluster.open = {receipts: 7, letters: 3}
    hidden.look(receipts, [0])
    cluster.now += 50
    hidden.look(letters, [0])
    assert (looked(receipts), age(receipts)) == (1_000, 50)
    assert (looked(letters), age(letters)) == (1_050, 0)
