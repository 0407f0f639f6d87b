"""The gateway as a process in front of a real broker."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Message
from confluent_kafka.admin import AdminClient

from schemas.topics import Topics
from tests.inputs import captures
from tests.inputs.callbacks import element
from tests.observers.topics import beginning
from tests.processes import room
from tests.processes.gateway import TOKEN, Gateway
from tests.processes.process import free_port
from tests.waiting import NET_SECONDS, eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gateway(kafka: str, topic_prefix: str, topics: Topics, tmp_path: Path) -> Iterator[Gateway]:
    """A ready gateway in front of the topics."""
    assert topics
    process = Gateway(kafka, topic_prefix, tmp_path)
    process.start()
    process.ready()
    yield process
    process.stop()


def records(kafka: str, topic: str, count: int) -> list[Message]:
    """The first `count` records of a topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": f"{topic}-reader",
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": 20_000_000,
        }
    )
    consumer.assign(beginning(consumer, topic))
    found: list[Message] = []

    def complete() -> bool:
        found.extend(message for message in consumer.consume(100, 0.2) if not message.error())
        return len(found) >= count

    try:
        eventually(complete, f"{count} records on {topic}", 60)
    finally:
        consumer.close()
    return found


def test_ACCEPTED_IS_DURABLE_byte_for_byte(kafka: str, topics: Topics, gateway: Gateway) -> None:
    for file in captures.files():
        answer = gateway.post(captures.body(file))
        assert answer.status_code == 202
        assert answer.json() == {
            "accepted": len(captures.elements(file)),
            "parked": 0,
            "spooled": 0,
        }
    found = records(kafka, topics.callbacks.name, len(captures.all_elements()))
    assert sorted(str(m.value()) for m in found) == sorted(map(str, captures.all_elements()))


def test_ONE_RUN_ONE_PARTITION(kafka: str, topics: Topics, gateway: Gateway) -> None:
    runs = {f"run-{number}": {"run_id": f"run-{number}"} for number in range(20)}
    for turn in range(3):
        body = [
            element(id=f"{run}-{turn}", metadata={"spend_logs_metadata": spend})
            for run, spend in runs.items()
        ]
        assert gateway.post(captures.array(body)).json()["accepted"] == len(runs)
    partitions: dict[bytes | None, set[int | None]] = {}
    for message in records(kafka, topics.callbacks.name, 3 * len(runs)):
        partitions.setdefault(message.key(), set()).add(message.partition())
    assert partitions.keys() == {run.encode() for run in runs}
    assert all(len(numbers) == 1 for numbers in partitions.values())
    assert len(set.union(*partitions.values())) > 1


def test_a_dead_letter_larger_than_any_record_is_stored_in_parts(
    kafka: str, topics: Topics, gateway: Gateway
) -> None:
    size = 2 * topics.dead_letters.max_message_bytes
    body = b"no json " * (size // 8)
    assert gateway.post(body).json() == {"accepted": 0, "parked": 1, "spooled": 0}
    parts = records(kafka, topics.dead_letters.name, 3)

    def index(part: Message) -> int:
        return int(dict(part.headers() or [])["part-index"] or -1)

    assert b"".join(part.value() or b"" for part in sorted(parts, key=index)) == body


def test_64_mebibytes_of_nesting_get_an_answer_and_the_process_stays_up(gateway: Gateway) -> None:
    answer = gateway.post(b"[" * 64 * 1024 * 1024)
    assert (answer.status_code, answer.json()["parked"]) == (202, 1)
    assert gateway.post(captures.array([element()])).json()["accepted"] == 1


def test_without_topics_it_is_not_ready_stores_nothing_and_creates_none(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    process = Gateway(kafka, topic_prefix, tmp_path)
    process.start()
    try:
        eventually(lambda: "billing topics --apply" in process.text("/readyz"), "the reason", 30)
        answer = process.post(captures.array([element()]))
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        names = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=NET_SECONDS).topics
        assert not [name for name in names if name.startswith(topic_prefix)]
    finally:
        process.stop()


def test_without_a_broker_it_lives_and_answers_503(topic_prefix: str, tmp_path: Path) -> None:
    process = Gateway(f"127.0.0.1:{free_port()}", topic_prefix, tmp_path)
    process.start()
    try:
        assert process.probe("/livez") == 200
        assert process.probe("/readyz") == 503
        assert '"kafka"' in process.text("/readyz")
        assert process.post(captures.array([element()])).status_code == 503
    finally:
        process.stop()


def ended(**settings: str) -> tuple[int, str]:
    """Exit code and standard error of a gateway that cannot run."""
    environment = {
        **os.environ,
        "BILLING_INGEST_TOKEN": TOKEN,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "GATEWAY_PORT": "0",
        "GATEWAY_METRICS_PORT": "0",
        **settings,
    }
    done = room.run(environment, "run", room="producer_gateway")
    return done.returncode, done.stderr


def test_exit_codes_and_what_they_say() -> None:
    code, said = ended(BILLING_INGEST_TOKEN="short")  # noqa: S106 - refused for its length
    assert (code, "openssl rand" in said) == (2, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = ended(GATEWAY_PORT=str(port))
    assert (code, f"127.0.0.1:{port}" in said) == (1, True)
