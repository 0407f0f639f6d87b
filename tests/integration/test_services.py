"""The services that the tests stand on are what they claim to be."""

import uuid

import psycopg
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.brokers.made_topics import await_topics
from tests.observers.topics import beginning
from tests.waiting import NET_SECONDS, eventually


def test_the_broker_keeps_a_record(kafka: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}kept"
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, 3, 1)])[topic].result(NET_SECONDS)
    await_topics(kafka, [(topic, 3)])
    value = uuid.uuid4().bytes
    producer = Producer({"bootstrap.servers": kafka, "acks": "all", "enable.idempotence": True})
    producer.produce(topic, value, key=b"run")
    assert producer.flush(NET_SECONDS) == 0
    consumer = Consumer(
        {"bootstrap.servers": kafka, "group.id": topic_prefix, "auto.offset.reset": "earliest"}
    )
    consumer.assign(beginning(consumer, topic))
    try:
        record = eventually(lambda: consumer.poll(1), "the record", 30)
    finally:
        consumer.close()
    assert record is not None
    assert record.error() is None
    assert record.value() == value


def test_each_test_has_a_database_of_its_own(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'billing'")
        assert row.fetchone() == (0,)
        connection.execute("CREATE TABLE mine (id int)")
