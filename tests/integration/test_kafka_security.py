"""Gateway and consumer over TLS and SASL, with no more rights than docs/security.md names."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation, ResourceType

from schemas.topics import Topics, load_topics
from tests.services import captures
from tests.services.broker import missing_for_apache
from tests.services.callbacks import element
from tests.services.gateway import TOKEN, Gateway
from tests.services.jars import fetch_jars
from tests.services.ledger import Ledger
from tests.services.process import Server, free_port
from tests.services.secured_kafka import Grant, SecuredKafka
from tests.services.waiting import eventually

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(missing_for_apache()), reason=str(missing_for_apache())),
]
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
        Grant(ResourceType.GROUP, group, [READS]),
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
    return subprocess.run(
        [sys.executable, "-m", "consumer", *arguments],
        cwd=ROOT,
        env={**environment("", {}), **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


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
    member = Server(
        "consumer",
        [sys.executable, "-m", "consumer", "run"],
        tmp_path / "consumer.log",
        env=environment(topic_prefix, settings),
        cwd=ROOT,
    )
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
