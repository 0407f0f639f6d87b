"""Invariants that show only where a part is missing: consumer, database, or a right to write."""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import psycopg
import pytest
from confluent_kafka import Producer

from tests.clients import fetching
from tests.processes import room
from tests.processes.process import free_port
from tests.processes.room import RoomServer
from tests.waiting import NET_SECONDS, eventually

ROOT: Final = Path(__file__).parents[2]
ROOMS: Final = (
    *("producer_gateway", "consumer", "operator_cli", "ledger", "charging", "runtime"),
    *("schemas", "demo"),
)
UNPRICED: Final = ROOT / "schemas/examples/litellm/real-unknown-price.json"
TOKEN: Final = secrets.token_urlsafe(32)

Environment = dict[str, str]


def run(environment: Environment, *arguments: str) -> str:
    """A command of ours that must succeed; what it printed."""
    done = room.run(environment, *arguments[1:], room=arguments[0])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def environment(kafka: str, topic_prefix: str) -> Environment:
    """Kafka with the topics, no database."""
    clean = {name: value for name, value in os.environ.items() if "DATABASE_URL" not in name}
    environment = clean | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "BILLING_TOPIC_PREFIX": topic_prefix,
        "BILLING_TOPIC_REPLICATION_FACTOR": "1",
    }
    run(environment, "consumer", "topics", "--apply")
    return environment


@contextmanager
def running(environment: Environment, log: Path, *arguments: str) -> Iterator[None]:
    """A process of ours, stopped in order at the end."""
    server = RoomServer(arguments, log, environment)
    server.start()
    try:
        yield
        server.check()
    finally:
        server.stop()


def found(database_url: str, query: str) -> list[tuple[object, ...]]:
    """The rows of a query."""
    with psycopg.connect(database_url) as connection:
        return connection.execute(query.encode()).fetchall()


def test_ONE_BILLING_PATH_a_settled_call_is_charged_through_the_topic(
    environment: Environment, migrated_database_url: str, tmp_path: Path
) -> None:
    topic = environment["BILLING_TOPIC_PREFIX"] + "billing.callbacks.v1"
    environment |= {
        "DATABASE_URL": migrated_database_url,
        "CONSUMER_GROUP": topic,
        "CONSUMER_METRICS_PORT": "0",
    }
    client = {"bootstrap.servers": environment["KAFKA_BOOTSTRAP_SERVERS"]}
    producer = Producer(client | {"partitioner": "murmur2_random"})
    producer.produce(topic, UNPRICED.read_bytes()[1:-1], key=b"run-7f3a")
    assert producer.flush(NET_SECONDS) == 0
    waiting = "SELECT id FROM billing.deferred_calls WHERE resolved_at IS NULL"
    receipts = "SELECT cost_source, charged_credits, kafka_topic FROM billing.charge_receipts"
    with running(environment, tmp_path / "first.log", "consumer", "run"):
        ((call,),) = eventually(lambda: found(migrated_database_url, waiting), "the deferral")

    by_hand = ("--cost", "0.0125", "--note", "price list of November", "--by", "ada")
    run(environment, "consumer", "deferred", "settle", str(call), *by_hand)
    assert found(migrated_database_url, receipts) == [], "the command charged by itself"

    with running(environment, tmp_path / "second.log", "consumer", "run"):
        rows = eventually(lambda: found(migrated_database_url, receipts), "the receipt")
    assert rows == [("operator", 125_000, topic)]
    assert found(migrated_database_url, waiting) == []
    partitions = (
        "SELECT kafka_partition FROM billing.charge_receipts "
        "UNION SELECT kafka_partition FROM billing.deferred_calls"
    )
    assert len(found(migrated_database_url, partitions)) == 1, "the run is on two partitions"


def test_ONE_LEDGER_WRITER_nobody_else_may_add_receipts(migrated_database_url: str) -> None:
    granted = found(
        migrated_database_url,
        "SELECT DISTINCT grantee FROM information_schema.role_table_grants "
        "WHERE table_schema = 'billing' AND table_name IN ('charge_receipts', "
        "'llm_charge_details', 'former_charge_details')"
        " AND privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')",
    )
    owner = found(migrated_database_url, "SELECT current_user")
    assert {*granted} == {("billing_consumer",), *owner}
    inserting = {
        str(file.relative_to(ROOT))
        for room in ROOMS
        for pattern in ("*.py", "*.sql")
        for file in (ROOT / room).rglob(pattern)
        if re.search(r"(INSERT INTO|COPY)\s+(billing\.)?charge_receipts", file.read_text())
    }
    assert inserting == {"ledger/sql/copy_receipts.sql"}


def test_NO_SYNCHRONOUS_RECEIPT_BARRIER_a_callback_is_taken_without_consumer_and_database(
    environment: Environment, tmp_path: Path
) -> None:
    port, probes = free_port(), free_port()
    environment |= {
        "BILLING_INGEST_TOKEN": TOKEN,
        "GATEWAY_PORT": str(port),
        "GATEWAY_METRICS_PORT": str(probes),
    }

    def ready() -> bool:
        try:
            answer = fetching.get(f"http://127.0.0.1:{probes}/readyz")
        except httpx.TransportError:
            return False
        return answer.is_success

    with running(environment, tmp_path / "gateway.log", "producer_gateway", "run"):
        eventually(ready, "the gateway to be ready")
        answer = fetching.post(
            f"http://127.0.0.1:{port}/v1/callbacks/litellm",
            content=UNPRICED.read_bytes(),
            headers={"Authorization": f"Bearer {TOKEN}"},
        )
    assert answer.status_code == httpx.codes.ACCEPTED
    assert answer.json() == {"accepted": 1, "parked": 0, "spooled": 0}
