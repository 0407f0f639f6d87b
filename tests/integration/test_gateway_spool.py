"""The gateway over an outage of Apache Kafka: all it took arrives, in the order of each run."""

import concurrent.futures
import itertools
import json
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.topics import Topics, load_topics
from tests.brokers.apache_kafka import ApacheKafka
from tests.brokers.broker import missing_for_apache
from tests.brokers.made_topics import await_topics
from tests.inputs import captures
from tests.inputs.callbacks import element
from tests.observers.topics import beginning
from tests.processes.gateway import Gateway
from tests.processes.process import free_port
from tests.waiting import NET_SECONDS, Stopwatch, eventually

DELIVERY_MS = 2_000
FREE = resource.RLIM_INFINITY
pytestmark = pytest.mark.skipif(bool(missing_for_apache()), reason=str(missing_for_apache()))


def spooling(kafka: str, prefix: str, directory: Path, **settings: str) -> Gateway:
    """A gateway with a spool that gives a broker up soon."""
    usual = {
        "GATEWAY_DELIVERY_TIMEOUT_MS": str(DELIVERY_MS),
        "GATEWAY_SPOOL_DIR": str(directory / "spool"),
    }
    return Gateway(kafka, prefix, directory, **usual | settings)


def spooled(gateway: Gateway) -> float:
    """How many records its spool holds."""
    return gateway.metric("billing_gateway_spool_records")


def callbacks(run: str, *numbers: int, padding: int = 0) -> bytes:
    """A body with calls of a run, by their numbers."""
    metadata = {"spend_logs_metadata": {"run_id": run}}
    texts = [
        element(id=f"{run}-{number}", metadata=metadata, padding="x" * padding)
        for number in numbers
    ]
    return captures.array(texts)


class Load:
    """Senders that each post their run's calls one after another until they are stopped."""

    def __init__(self, gateway: Gateway, senders: int = 8) -> None:
        self._stop = threading.Event()
        self._gateway = gateway
        self._pool = concurrent.futures.ThreadPoolExecutor(senders)
        self.answers: list[tuple[str, int, int, float]] = []
        self.refusals: list[str] = []
        self._futures = [self._pool.submit(self._post, f"run-{n}") for n in range(senders)]

    def _post(self, run: str) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            watch = Stopwatch()
            answer = self._gateway.post(callbacks(run, number))
            self.answers.append((run, number, answer.status_code, watch.seconds()))
            if answer.status_code != httpx.codes.ACCEPTED:
                self.refusals.append(answer.text)

    def stop(self) -> dict[str, list[str]]:
        """Stop, check that all got 202, and return the ids of each run in their order."""
        self._stop.set()
        self._pool.shutdown()
        for future in self._futures:
            future.result()
        assert self.refusals == []
        sent: dict[str, list[str]] = {}
        for run, number, _, _ in self.answers:
            sent.setdefault(run, []).append(f"{run}-{number}")
        return sent


def arrived(kafka: str, topic: str, sent: dict[str, list[str]]) -> dict[str, list[str]]:
    """The ids of each run on the topic, each once, in the order of its first arrival."""
    consumer = Consumer(
        {"bootstrap.servers": kafka, "group.id": f"{topic}r", "auto.offset.reset": "earliest"}
    )
    # In no group: the coordinator of one may be away for as long as its broker was.
    consumer.assign(beginning(consumer, topic))
    found: dict[str, dict[str, None]] = {}
    wanted = sum(map(len, sent.values()))

    def complete() -> bool:
        for message in consumer.consume(1_000, 0.2):
            assert not message.error()
            call = json.loads(message.value() or b"")["id"]
            found.setdefault((message.key() or b"").decode(), {}).setdefault(call)
        return sum(map(len, found.values())) >= wanted

    try:
        eventually(complete, f"{wanted} calls on {topic}", 60)
    finally:
        consumer.close()
    return {run: list(calls) for run, calls in found.items()}


def assert_in_order(found: dict[str, list[str]], sent: dict[str, list[str]]) -> None:
    """Every call that was answered 202 has arrived, in its run's order."""
    by_run = {calls[0].rpartition("-")[0]: calls for calls in found.values()}
    assert by_run == sent


@pytest.fixture
def topics(broker: ApacheKafka, topic_prefix: str) -> Topics:
    """The declared topics, created."""
    declared = load_topics(topic_prefix)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for future in admin.create_topics(
        [NewTopic(topic.name, 2, 1) for topic in declared.all()]
    ).values():
        future.result(NET_SECONDS)
    await_topics(broker.bootstrap, [(topic.name, 2) for topic in declared.all()])
    return declared


@pytest.fixture
def gateway(
    broker: ApacheKafka, topic_prefix: str, topics: Topics, tmp_path: Path
) -> Iterator[Gateway]:
    """A ready gateway in front of the broker."""
    assert topics
    process = spooling(broker.bootstrap, topic_prefix, tmp_path)
    with process.running():
        eventually(lambda: process.state()["kafka"] == "there", "the broker", 30)
        yield process


def test_a_killed_broker_costs_nothing_and_the_order_of_runs_is_kept(
    broker: ApacheKafka, topics: Topics, gateway: Gateway
) -> None:
    load = Load(gateway)
    eventually(lambda: len(load.answers) > 100, "a hundred answers", 30)
    broker.kill()
    at = len(load.answers)
    eventually(lambda: len(load.answers) > at + 300, "answers without a broker", 60)
    state = gateway.state()
    assert (gateway.probe("/readyz"), state["kafka"][:4]) == (200, "away"), state
    assert state["spool"]["records"] > 200
    broker.start()
    at = len(load.answers)
    eventually(lambda: len(load.answers) > at + 100, "answers after its return", 60)
    sent = load.stop()
    eventually(lambda: spooled(gateway) == 0, "an empty spool", 60)
    assert_in_order(arrived(broker.bootstrap, topics.callbacks.name, sent), sent)


def test_a_suspended_broker_is_given_up_after_the_delivery_timeout(
    broker: ApacheKafka, topics: Topics, gateway: Gateway
) -> None:
    load = Load(gateway)
    eventually(lambda: len(load.answers) > 50, "fifty answers", 30)
    broker.suspend()
    try:
        at = len(load.answers)
        eventually(lambda: len(load.answers) > at + 200, "answers without a broker", 60)
        slow = [took for *_, took in load.answers if took > 1]
        assert len(slow) <= 8
        assert all(took < DELIVERY_MS / 1000 + 2 for took in slow)
    finally:
        broker.resume()
    sent = load.stop()
    eventually(lambda: spooled(gateway) == 0, "an empty spool", 90)
    assert_in_order(arrived(broker.bootstrap, topics.callbacks.name, sent), sent)


def test_a_gateway_killed_with_a_full_spool_drains_it_after_its_return(
    broker: ApacheKafka, topics: Topics, gateway: Gateway
) -> None:
    broker.kill()
    load = Load(gateway)
    eventually(lambda: len(load.answers) > 200, "answers without a broker", 60)
    sent = load.stop()
    gateway.server.kill()
    gateway.start()
    gateway.ready()
    assert spooled(gateway) == sum(map(len, sent.values()))
    broker.start()
    eventually(lambda: spooled(gateway) == 0, "an empty spool", 60)
    assert_in_order(arrived(broker.bootstrap, topics.callbacks.name, sent), sent)


def test_sigterm_during_an_outage_keeps_what_was_in_hand(
    broker: ApacheKafka, topics: Topics, topic_prefix: str, tmp_path: Path
) -> None:
    limits = {"GATEWAY_DELIVERY_TIMEOUT_MS": "60000", "GATEWAY_SHUTDOWN_TIMEOUT_S": "6"}
    gateway = spooling(broker.bootstrap, topic_prefix, tmp_path, **limits)
    with gateway.running(), concurrent.futures.ThreadPoolExecutor(1) as pool:
        eventually(lambda: gateway.state()["kafka"] == "there", "the broker", 30)
        broker.suspend()
        try:
            answer = pool.submit(gateway.post, callbacks("run-1", 1, 2, 3))
            eventually(
                lambda: gateway.metric("billing_gateway_inflight_bytes") > 0,
                "the request in hand",
                20,
            )
            watch = Stopwatch()
            gateway.server.stop()
            assert watch.seconds() < 8
            assert answer.result().json() == {"accepted": 3, "parked": 0, "spooled": 3}
        finally:
            broker.resume()
    sent = {"run-1": [f"run-1-{number}" for number in (1, 2, 3)]}
    with spooling(broker.bootstrap, topic_prefix, tmp_path, **limits).running():
        assert_in_order(arrived(broker.bootstrap, topics.callbacks.name, sent), sent)


def test_a_full_spool_is_503_and_stores_no_half(topic_prefix: str, tmp_path: Path) -> None:
    gateway = spooling(
        f"127.0.0.1:{free_port()}", topic_prefix, tmp_path, GATEWAY_SPOOL_MAX_BYTES="100000"
    )
    with gateway.running():
        assert gateway.post(callbacks("run-1", 1, padding=50_000)).json()["spooled"] == 1
        refused = gateway.post(callbacks("run-1", 2, 3, padding=30_000))
        assert (refused.status_code, refused.json()["error"]) == (503, "spool_full")
        assert refused.headers["retry-after"]
        assert spooled(gateway) == 1
        assert gateway.probe("/readyz") == 503
        assert gateway.state()["missing"]["spool"] == "full"
        assert gateway.metric("billing_gateway_not_stored_total", reason="spool_full") == 1


def test_a_full_disk_is_503_and_the_process_stays_up(topic_prefix: str, tmp_path: Path) -> None:
    # A bound on the size of each file that the process may write stands for the disk.
    gateway = spooling(f"127.0.0.1:{free_port()}", topic_prefix, tmp_path)
    with gateway.running():
        resource.prlimit(gateway.server.pid, resource.RLIMIT_FSIZE, (400_000, FREE))
        for number in range(100):
            answer = gateway.post(callbacks("run-1", number, padding=20_000))
            if answer.status_code != 202:
                break
        assert (answer.status_code, answer.json()["error"]) == (503, "spool_failed")
        assert spooled(gateway) == number
        assert gateway.probe("/readyz") == 503
        resource.prlimit(gateway.server.pid, resource.RLIMIT_FSIZE, (FREE, FREE))
        eventually(lambda: gateway.probe("/readyz") == 200, "room again", 30)
        assert gateway.post(callbacks("run-1", 1_000, padding=20_000)).status_code == 202
