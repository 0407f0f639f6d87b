"""Gateway and consumer over TLS and SASL, with no more rights than docs/security.md names."""

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType

from operator_cli.cluster import Cluster
from schemas.topics import Topics, load_topics
from tests.brokers.broker import missing_for_apache
from tests.brokers.jars import fetch_jars
from tests.brokers.secured_kafka import Grant, SecuredKafka
from tests.inputs import captures
from tests.inputs.callbacks import element
from tests.observers.ledger import Ledger
from tests.processes import room
from tests.processes.gateway import TOKEN, Gateway
from tests.processes.process import Server, free_port
from tests.processes.room import RoomServer
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(bool(missing_for_apache()), reason=str(missing_for_apache()))
SEES, READS, WRITES = AclOperation.DESCRIBE, AclOperation.READ, AclOperation.WRITE


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker that demands a login."""
    kafka = SecuredKafka(fetch_jars(print), tmp_path_factory.mktemp("secured"))
    kafka.start()
    yield kafka
    kafka.stop()


@pytest.fixture
def topics(topic_prefix: str) -> Topics:
    """The topics as this test names them."""
    return load_topics(topic_prefix)


def login(broker: SecuredKafka, user: str, password: str) -> dict[str, str]:
    """The variables of docs/security.md."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": broker.secured,
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": user,
        "KAFKA_SASL_PASSWORD": password,
        "KAFKA_SSL_CA_LOCATION": str(broker.authority),
    }


def of_the_gateway(topics: Topics) -> list[Grant]:
    """What docs/security.md says that the gateway needs."""
    written = (topics.callbacks, topics.dead_letters, topics.usage_units)
    return [Grant(ResourceType.TOPIC, topic.name, [WRITES, SEES]) for topic in written]


def of_the_consumer(topics: Topics, group: str) -> list[Grant]:
    """What docs/security.md says that the consumer needs."""
    return [
        Grant(ResourceType.TOPIC, topics.callbacks.name, [READS, WRITES, SEES]),
        Grant(ResourceType.TOPIC, topics.usage_units.name, [READS, SEES]),
        Grant(ResourceType.TOPIC, topics.receipts.name, [WRITES, SEES]),
        Grant(ResourceType.TOPIC, topics.dead_letters.name, [READS, WRITES, SEES]),
        Grant(ResourceType.TOPIC, topics.credits.name, [WRITES, SEES]),
        Grant(ResourceType.GROUP, group, [READS], prefixed=True),
        Grant(ResourceType.TRANSACTIONAL_ID, group, [WRITES, SEES], prefixed=True),
    ]


def environment(prefix: str, settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a consumer."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BILLING_", "CONSUMER_"))}
    return {
        **kept,
        "BILLING_TOPIC_PREFIX": prefix,
        "BILLING_TOPIC_REPLICATION_FACTOR": "1",
        "CONSUMER_GROUP": f"{prefix}consumer",
        **settings,
    }


def consumer(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the consumer to its end."""
    return room.run({**environment("", {}), **settings}, *arguments)


def running_consumer(log: Path, settings: Mapping[str, str]) -> Server:
    """A member of the group, still to be started."""
    return RoomServer(["consumer", "run"], log, settings)


def test_a_call_becomes_a_receipt_over_tls_with_a_login(
    broker: SecuredKafka,
    topics: Topics,
    topic_prefix: str,
    migrated_database_url: str,
    tmp_path: Path,
) -> None:
    owner, door, writer = (f"{topic_prefix}{name}" for name in ("owner", "gateway", "consumer"))
    passwords = {user: broker.add_user(user) for user in (owner, door, writer)}
    group = f"{topic_prefix}consumer"
    every = [AclOperation.CREATE, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS]
    broker.grant(owner, Grant(ResourceType.TOPIC, topic_prefix, every, prefixed=True))
    broker.grant(door, *of_the_gateway(topics))
    broker.grant(writer, *of_the_consumer(topics, group))

    made = consumer(
        *("topics", "--apply"),
        **environment(topic_prefix, login(broker, owner, passwords[owner])),
    )
    assert made.returncode == 0, made.stdout + made.stderr
    gateway = Gateway("", topic_prefix, tmp_path, **login(broker, door, passwords[door]))
    settings = {
        **login(broker, writer, passwords[writer]),
        "DATABASE_URL": migrated_database_url,
        "CONSUMER_METRICS_PORT": str(free_port()),
    }
    member = running_consumer(tmp_path / "consumer.log", environment(topic_prefix, settings))
    ledger = Ledger(migrated_database_url)
    try:
        gateway.start()
        gateway.ready()
        member.start()
        body = captures.array([element(id="over-tls"), b"7"])
        assert gateway.post(body).json() == {"accepted": 1, "parked": 1, "spooled": 0}

        def written() -> bool:
            member.check()
            return bool(ledger.receipts(response_id="over-tls"))

        eventually(written, "the receipt", 60)
    finally:
        gateway.stop()
        member.stop()
    logs = gateway.server.log.read_text() + member.log.read_text()
    assert not [secret for secret in (*passwords.values(), TOKEN) if secret in logs]


@pytest.mark.parametrize("spool", [False, True])
def test_a_gateway_that_may_not_write_goes_on_and_works_once_it_may(
    broker: SecuredKafka, topics: Topics, topic_prefix: str, tmp_path: Path, *, spool: bool
) -> None:
    # Kafka gives such a producer no identity, which its client takes as fatal, again and again.
    user = f"{topic_prefix}gateway"
    settings = login(broker, user, broker.add_user(user))
    if spool:
        settings["GATEWAY_SPOOL_DIR"] = str(tmp_path / "spool")
    cluster = Cluster({"bootstrap.servers": broker.bootstrap}, replication_factor=1)
    cluster.apply(cluster.differences(topics))
    broker.grant(user, *(Grant(ResourceType.TOPIC, t.name, [SEES]) for t in topics.all()))
    gateway = Gateway("", topic_prefix, tmp_path, **settings)
    body = captures.array([element()])
    lost = "billing_gateway_producer_fatal_total"
    try:
        gateway.start()
        begun, before = time.monotonic(), gateway.metric(lost)
        eventually(lambda: gateway.metric(lost) > before + 2, "fatal errors", 60)
        assert gateway.metric(lost) - before <= time.monotonic() - begun + 2
        answer = gateway.post(body)
        if spool:
            assert (answer.status_code, answer.json()["spooled"]) == (202, 1)
        else:
            assert answer.status_code == 503
            eventually(lambda: "uthorization failed" in gateway.text("/readyz"), "the reason", 30)
        broker.grant(user, *of_the_gateway(topics))

        def stored() -> bool:
            gateway.server.check()
            answer = gateway.post(body)
            return answer.status_code == 202 and answer.json()["spooled"] == 0

        eventually(stored, "an answer from Kafka", 60)
        eventually(lambda: gateway.metric("billing_gateway_spool_records") == 0, "the drain", 30)
        gateway.ready()
    finally:
        gateway.stop()


@pytest.mark.parametrize(
    ("change", "said", "command"),
    [
        (
            {"KAFKA_SASL_PASSWORD": "wrong-password-of-a-test"},
            "invalid credentials with SASL mechanism SCRAM",
            "run",
        ),
        # The client's own sentence or, where another of its threads is first, OpenSSL's.
        (
            {"KAFKA_SSL_CA_LOCATION": "stranger"},
            "certificate (could not be verified|verify failed)",
            "topics",
        ),
    ],
    ids=["password", "authority"],
)
def test_what_is_wrong_with_the_login_is_said(
    broker: SecuredKafka,
    *,
    topic_prefix: str,
    migrated_database_url: str,
    tmp_path: Path,
    change: dict[str, str],
    said: str,
    command: str,
) -> None:
    user = f"{topic_prefix}user"
    settings = login(broker, user, broker.add_user(user)) | change
    if "KAFKA_SSL_CA_LOCATION" in change:
        settings["KAFKA_SSL_CA_LOCATION"] = str(broker.stranger)
    gateway = Gateway("", topic_prefix, tmp_path, **settings)
    try:
        gateway.start()
        eventually(lambda: re.search(said, gateway.text("/readyz")), "the reason", 30)
    finally:
        gateway.stop()
    settings |= {"DATABASE_URL": migrated_database_url, "CONSUMER_METRICS_PORT": str(free_port())}
    ended = consumer(command, **environment(topic_prefix, settings))
    assert ended.returncode == 1
    assert re.search(said, ended.stderr.splitlines()[-1])
    assert settings["KAFKA_SASL_PASSWORD"] not in gateway.server.log.read_text() + ended.stderr


def test_a_certificate_file_that_is_not_there_is_a_message(topic_prefix: str) -> None:
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CA_LOCATION": "/nowhere.pem",
        "BILLING_INGEST_TOKEN": TOKEN,
        "GATEWAY_PORT": "0",
        "GATEWAY_METRICS_PORT": "0",
    }
    done = room.run(environment(topic_prefix, settings), "run", room="producer_gateway")
    assert done.returncode == 1
    assert "stopped: " in done.stderr
    assert "ssl.ca.location" in done.stderr
    assert "Traceback" not in done.stderr
