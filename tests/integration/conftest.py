"""Fixtures of the integration ring."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from ledger.credits import Credits
from ledger.receipts import ReceiptWriter
from schemas.topics import Topics, load_topics
from tests.brokers.apache_kafka import SHORT_SESSION_MS, ApacheKafka, answers
from tests.brokers.jars import fetch_jars
from tests.brokers.made_topics import await_topics
from tests.databases.former_schema import SINCE_RELEASE, take_back
from tests.databases.writing import ROLE
from tests.downloads.promtool import MissingError
from tests.integration.event_publishers import Publishers
from tests.integration.moved_credits import GUARD, THRESHOLDS, TOPIC
from tests.observers.ledger import Ledger as Tables
from tests.processes.consuming import RECEIPTS, Consuming
from tests.processes.prometheus import Prometheus
from tests.processes.reconciling import Reconciling
from tests.waiting import NET_SECONDS


@pytest.fixture
def ledger(migrated_database_url: str) -> Iterator[ReceiptWriter]:
    """The consumer's ledger, in the role it acts as."""
    with closing(ReceiptWriter(migrated_database_url, ROLE)) as opened:
        yield opened


@pytest.fixture
def accounts(migrated_database_url: str) -> Iterator[Credits]:
    """Credits as the guard moves them."""
    with closing(Credits(migrated_database_url, GUARD, "tests", THRESHOLDS)) as opened:
        yield opened


@pytest.fixture(scope="session")
def make_topics(kafka: str) -> Callable[[str], Topics]:
    """Creates the declared topics under a prefix."""

    def make(prefix: str) -> Topics:
        declared, admin = load_topics(prefix), AdminClient({"bootstrap.servers": kafka})
        wanted = [
            NewTopic(t.name, t.partitions, 1, config={k: str(v) for k, v in t.config.items()})
            for t in declared.all()
        ]
        for future in admin.create_topics(wanted).values():
            future.result(NET_SECONDS)
        await_topics(kafka, [(topic.name, topic.partitions) for topic in declared.all()])
        return declared

    return make


@pytest.fixture
def admin(kafka: str) -> AdminClient:
    """An administrator of the broker."""
    return AdminClient({"bootstrap.servers": kafka})


@pytest.fixture
def topics(make_topics: Callable[[str], Topics], topic_prefix: str) -> Topics:
    """The declared topics under this test's prefix, created."""
    return make_topics(topic_prefix)


@pytest.fixture
def tables(migrated_database_url: str) -> Tables:
    """What the ledger wrote, read from outside."""
    return Tables(migrated_database_url)


@pytest.fixture
def prometheus(tmp_path: Path) -> Prometheus:
    """A Prometheus that is not started yet."""
    try:
        return Prometheus(tmp_path)
    except MissingError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def publishers(
    consuming: Consuming, kafka: str, migrated_database_url: str
) -> Iterator[Publishers]:
    """Processes that publish what waits in the ledger."""
    topic, receipts = consuming.prefix + TOPIC, consuming.prefix + RECEIPTS
    with closing(Publishers(kafka, topic, receipts, migrated_database_url)) as made:
        yield made


@pytest.fixture
def installation(consuming: Consuming) -> Iterator[Reconciling]:
    """A spend log, a gateway and a consumer."""
    with closing(Reconciling(consuming)) as made:
        made.start_gateway()
        consuming.member()
        yield made


@pytest.fixture
def consuming(
    kafka: str, migrated_database_url: str, topic_prefix: str, tmp_path: Path
) -> Iterator[Consuming]:
    """Topics and tables of this test; no member of the group runs yet."""
    with closing(Consuming(kafka, migrated_database_url, topic_prefix, tmp_path)) as made:
        yield made


@pytest.fixture(scope="session")
def hurt_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """The broker behind `broker`."""
    directory = tmp_path_factory.mktemp("hurt")
    kafka = ApacheKafka(fetch_jars(print), directory, heap="512m", session_ms=SHORT_SESSION_MS)
    kafka.start()
    yield kafka
    kafka.stop()


@pytest.fixture
def broker(hurt_kafka: ApacheKafka) -> ApacheKafka:
    """A broker that a test may hurt; it runs, in whatever state the test before left it."""
    if not answers(hurt_kafka.bootstrap):
        hurt_kafka.kill()
        hurt_kafka.start()
    return hurt_kafka


@pytest.fixture
def former_url(migrated_database_url: str) -> str:
    """A ledger as release 0.2.0 has it."""
    take_back(migrated_database_url, SINCE_RELEASE)
    return migrated_database_url
