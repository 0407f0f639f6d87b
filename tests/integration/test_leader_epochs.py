"""The epochs of records: nothing is said of an offset at which none stands."""

import uuid
from typing import Final

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from runtime import leader_epochs as room
from runtime.leader_epochs import leader_epochs
from tests.integration.test_lost_offsets import delete_records
from tests.processes.consuming import CALLBACKS, Consuming
from tests.waiting import NET_SECONDS

LARGE: Final = bytes(100_000)
"""More than is fetched at a time."""


def test_where_a_record_stands_its_epoch_is_told(consuming: Consuming, admin: AdminClient) -> None:
    topic = consuming.prefix + CALLBACKS
    config = {"bootstrap.servers": consuming.bootstrap}
    producer = Producer(config | {"transactional.id": f"epochs-{uuid.uuid4()}"})
    producer.init_transactions(NET_SECONDS)
    producer.begin_transaction()
    for partition in (0, 1, 2):
        for _ in range(3):
            producer.produce(topic, LARGE, partition=partition)
    producer.commit_transaction(NET_SECONDS)
    delete_records(consuming, admin, {2: 2})
    epochs = leader_epochs(config, {(topic, partition): 1 for partition in range(4)})
    assert epochs == {(topic, 0): 0, (topic, 1): 0}, "one is deleted, one is not written yet"
    marker = leader_epochs(config, {(topic, 0): 3, (topic, 1): 2, (topic, 2): 2})
    assert marker == {(topic, 1): 0, (topic, 2): 0}
    assert leader_epochs(config, {}) == {}


def test_a_kafka_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_TIMEOUT_SECONDS", 0.5)
    with pytest.raises(KafkaException, match="_TIMED_OUT"):
        leader_epochs({"bootstrap.servers": "127.0.0.1:1"}, {("nowhere", 0): 1})
