"""The groups of the embedded broker, with members that are killed."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from demo.groups import Groups
from tests.brokers.embedded_kafka import EmbeddedKafka
from tests.brokers.made_topics import await_topics
from tests.processes.process import Server
from tests.waiting import NET_SECONDS, eventually

GROUP = "billing-consumer"
PARTITIONS = 4
# As the consumer is configured, with a shorter heartbeat.
MEMBER = f"""
import sys
from confluent_kafka import Consumer, KafkaException
consumer = Consumer({{
    "bootstrap.servers": sys.argv[1], "group.id": "{GROUP}", "enable.auto.commit": False,
    "auto.offset.reset": "earliest", "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": 6000, "heartbeat.interval.ms": 300,
}})
consumer.subscribe(["topic"])
while True:
    message = consumer.poll(1)
    if message and not message.error():
        print(message.value().decode(), flush=True)
        try:
            consumer.commit(message, asynchronous=False)
        except KafkaException as refused:  # its partition moved on meanwhile
            print(refused, flush=True)
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    broker = EmbeddedKafka(tmp_path)
    broker.start()
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic("topic", PARTITIONS)])["topic"].result(NET_SECONDS)
    await_topics(broker.bootstrap, [("topic", PARTITIONS)])
    yield broker
    broker.stop()


@pytest.fixture
def member(broker: EmbeddedKafka, tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    """Starts members of the group; each is killed in the end."""
    started: list[Server] = []

    def start(name: str) -> Server:
        command = [sys.executable, "-c", MEMBER, broker.bootstrap]
        server = Server(name, command, tmp_path / f"{name}.log")
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()


def send(broker: EmbeddedKafka, word: str) -> None:
    """A record for each partition."""
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for partition in range(PARTITIONS):
        producer.produce("topic", f"{word}-{partition}".encode(), partition=partition)
    assert producer.flush(10) == 0


def test_what_a_killed_member_held_is_read_by_its_successor_and_by_its_neighbour(
    broker: EmbeddedKafka, member: Callable[[str], Server]
) -> None:
    groups = Groups(int(broker.bootstrap.rpartition(":")[2]), GROUP, patience_seconds=1)

    def read(word: str, *members: Server) -> None:
        send(broker, word)

        # One that was read as its partition moved on is read again: its commit came too late.
        wanted = {f"{word}-{partition}" for partition in range(PARTITIONS)}

        def done() -> bool:
            groups.mind(time.monotonic())
            for server in members:
                server.check()
            return wanted <= {text for server in members for text in server.log.read_text().split()}

        eventually(done, f"{PARTITIONS} records {word}")

    first = member("first")
    read("begin", first)
    os.kill(first.pid, signal.SIGKILL)
    second, third = member("second"), member("third")
    read("successors", second, third)
    os.kill(third.pid, signal.SIGKILL)
    read("neighbour", second)
