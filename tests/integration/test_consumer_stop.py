"""Stopping the consumer while what it depends on is away: in time, in order, nothing lost."""

import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
import yaml

from tests.brokers.apache_kafka import ApacheKafka
from tests.brokers.broker import missing_for_apache
from tests.inputs.callbacks import element
from tests.network.gate import Gate
from tests.processes.consuming import Consuming, Member
from tests.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
VALUES: Final = ROOT / "charts" / "billing-stream" / "values.yaml"
MARGIN_SECONDS: Final = 5
STILL_SECONDS: Final = 1.0
pytestmark = pytest.mark.skipif(bool(missing_for_apache()), reason=str(missing_for_apache()))


@pytest.fixture
def gate(migrated_database_url: str) -> Iterator[Gate]:
    """A door in front of the database."""
    made = Gate(urlsplit(migrated_database_url).port or 5432)
    yield made
    made.shut()


@pytest.fixture
def consuming(
    broker: ApacheKafka, migrated_database_url: str, topic_prefix: str, tmp_path: Path
) -> Iterator[Consuming]:
    """Topics and tables of this test, with the timeouts of production."""
    usual = {
        "CONSUMER_SESSION_TIMEOUT_MS": "15000",
        "CONSUMER_RETRY_MAX_MS": "10000",
        "CONSUMER_TRANSACTION_TIMEOUT_MS": "15000",
        "CONSUMER_BATCH_RECORDS": "50",
    }
    made = Consuming(broker.bootstrap, migrated_database_url, topic_prefix, tmp_path, usual)
    with closing(made):
        yield made


def calls(first: int, count: int) -> list[bytes]:
    """Paid calls in seven runs."""
    made = []
    for number in range(first, first + count):
        spend = {"run_id": f"run-{number % 7}", "attempt": 0}
        name = f"call-{number}"
        made.append(element(id=name, litellm_call_id=name, metadata={"spend_logs_metadata": spend}))
    return made


def grace_seconds() -> int:
    """How long Kubernetes waits before it kills the consumer."""
    values = yaml.safe_load(VALUES.read_text())
    return int(values["consumer"]["terminationGracePeriodSeconds"])


def stops_in_time(member: Member) -> None:
    """SIGTERM ends it in order, well before Kubernetes would."""
    code = member.end(signal.SIGTERM, grace_seconds() - MARGIN_SECONDS)
    assert code == 0, member.log.read_text()[-3_000:]
    assert member.lines()[-1]["event"] == "consumer stopped"


def stands_still(consuming: Consuming) -> bool:
    """Whether no receipt came for a while: the member waits for something."""
    before = len(consuming.tables.receipts())
    time.sleep(STILL_SECONDS)
    return len(consuming.tables.receipts()) == before


def nothing_is_lost(consuming: Consuming, count: int) -> None:
    """A successor commits what is left, and every receipt has one event."""
    consuming.member(CONSUMER_BATCH_RECORDS="1000")
    consuming.all_committed()
    consuming.every_receipt_is_published_once(count)


@pytest.mark.parametrize(
    ("how", "busy"),
    [("suspended", False), ("killed", True)],
    ids=["suspended-idle", "killed-batch"],
)
def test_a_stop_while_the_broker_is_away_is_in_time(
    *, consuming: Consuming, broker: ApacheKafka, how: str, busy: bool
) -> None:
    member = consuming.member()
    consuming.send(*calls(0, 20))
    consuming.all_committed()
    if busy:
        consuming.send(*calls(20, 2_000))
        eventually(lambda: len(consuming.tables.receipts()) > 20, "the first batch")
    away(broker, how)
    try:
        eventually(lambda: stands_still(consuming), "the member to wait")
        stops_in_time(member)
    finally:
        back(broker, how)
    nothing_is_lost(consuming, 2_020 if busy else 20)


def test_a_stop_while_both_are_away_with_a_batch_in_hand_is_in_time(
    consuming: Consuming, broker: ApacheKafka, gate: Gate
) -> None:
    port = urlsplit(consuming.database_url).port
    url = consuming.database_url.replace(f":{port}/", f":{gate.port}/")
    member = consuming.member(DATABASE_URL=url)
    gate.shut()
    consuming.send(*calls(0, 200))
    eventually(lambda: member.said("batch will be tried again"), "the member to notice")
    broker.suspend()
    try:
        stops_in_time(member)
    finally:
        broker.resume()
    nothing_is_lost(consuming, 200)


def away(broker: ApacheKafka, how: str) -> None:
    """Freeze or kill the broker."""
    if how == "suspended":
        broker.suspend()
    else:
        broker.kill()


def back(broker: ApacheKafka, how: str) -> None:
    """Bring it back."""
    if how == "suspended":
        broker.resume()
    else:
        broker.start()
