"""The gateway over an outage of Apache Kafka: all it took arrives, in the order of each run."""

import concurrent.futures
import itertools
import json
import os
import re
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.topics import Topics, load_topics
from tests.services import captures
from tests.services.apache_kafka import ApacheKafka, answers
from tests.services.broker import missing_for_apache
from tests.services.callbacks import element
from tests.services.jars import fetch_jars
from tests.services.process import Server, free_port
from tests.services.waiting import eventually

ROOT = Path(__file__).parents[2]
TOKEN = "t" * 32
DELIVERY_MS = 2_000
FREE = resource.RLIM_INFINITY
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(bool(missing_for_apache()), reason=str(missing_for_apache())),
]


class Gateway:
    """A gateway process with a spool, and a client of it."""

    def __init__(self, kafka: str, prefix: str, directory: Path, **settings: str) -> None:
        self.port, self._probes = free_port(), free_port()
        self.spool = directory / "spool"
        environment = {
            **os.environ,
            "BILLING_INGEST_TOKEN": TOKEN,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "BILLING_TOPIC_PREFIX": prefix,
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_METRICS_PORT": str(self._probes),
            "GATEWAY_DELIVERY_TIMEOUT_MS": str(DELIVERY_MS),
            "GATEWAY_SPOOL_DIR": str(self.spool),
            **settings,
        }
        command = [sys.executable, "-m", "producer_gateway", "run"]
        self.server = Server(
            "gateway", command, directory / "gateway.log", env=environment, cwd=ROOT
        )

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.server.start()
        eventually(self._ready, "/readyz", 60)

    @contextmanager
    def running(self) -> Iterator[httpx.Client]:
        """Start it, give a client, and end it in every case."""
        try:
            self.start()
            with self.client() as client:
                yield client
        finally:
            self.server.stop()

    def _ready(self) -> bool:
        self.server.check()
        try:
            return self.probe("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def probe(self, path: str) -> httpx.Response:
        """What a probe says."""
        return httpx.get(f"http://127.0.0.1:{self._probes}{path}", trust_env=False)

    def metric(self, name: str) -> float:
        """The value of a metric without labels."""
        found = re.search(
            rf"^billing_gateway_{name} (\S+)$", self.probe("/metrics").text, re.MULTILINE
        )
        assert found, name
        return float(found[1])

    def client(self) -> httpx.Client:
        """A client that posts to it."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"authorization": f"Bearer {TOKEN}"},
            trust_env=False,
            timeout=60,
        )


def callbacks(run: str, *numbers: int, padding: int = 0) -> bytes:
    """A body with calls of a run, by their numbers."""
    metadata = {"spend_logs_metadata": {"run_id": run}}
    texts = [
        element(id=f"{run}-{number}", metadata=metadata, padding="x" * padding)
        for number in numbers
    ]
    return captures.array(texts)


def send(client: httpx.Client, body: bytes) -> httpx.Response:
    """Post a body."""
    return client.post("/v1/callbacks/litellm", content=body)


class Load:
    """Senders that each post their run's calls one after another until they are stopped."""

    def __init__(self, gateway: Gateway, senders: int = 8) -> None:
        self._stop = threading.Event()
        self._gateway = gateway
        self._pool = concurrent.futures.ThreadPoolExecutor(senders)
        self._futures = [self._pool.submit(self._post, f"run-{n}") for n in range(senders)]
        self.answers: list[tuple[str, int, int, float]] = []
        self.refusals: list[str] = []

    def _post(self, run: str) -> None:
        with self._gateway.client() as client:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                begun = time.monotonic()
                answer = send(client, callbacks(run, number))
                took = time.monotonic() - begun
                self.answers.append((run, number, answer.status_code, took))
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
    consumer.subscribe([topic])
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


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """A broker that these tests may hurt."""
    kafka = ApacheKafka(fetch_jars(print), tmp_path_factory.mktemp("hurt"), heap="512m")
    kafka.start()
    yield kafka
    kafka.stop()


@pytest.fixture
def topics(broker: ApacheKafka, topic_prefix: str) -> Topics:
    """The declared topics, created; on a broker that a failed test may have left dead."""
    if not answers(broker.bootstrap):
        broker.kill()
        broker.start()
    declared = load_topics(topic_prefix)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    for future in admin.create_topics(
        [NewTopic(topic.name, 2, 1) for topic in declared.all()]
    ).values():
        future.result(30)
    return declared


@pytest.fixture
def gateway(
    broker: ApacheKafka, topic_prefix: str, topics: Topics, tmp_path: Path
) -> Iterator[Gateway]:
    """A ready gateway in front of the broker."""
    assert topics
    process = Gateway(broker.bootstrap, topic_prefix, tmp_path)
    process.start()
    eventually(lambda: process.probe("/readyz").json()["kafka"] == "there", "the broker", 30)
    yield process
    process.server.stop()


def test_a_killed_broker_costs_nothing_and_the_order_of_runs_is_kept(
    broker: ApacheKafka, topics: Topics, gateway: Gateway
) -> None:
    load = Load(gateway)
    eventually(lambda: len(load.answers) > 100, "a hundred answers", 30)
    broker.kill()
    at = len(load.answers)
    eventually(lambda: len(load.answers) > at + 300, "answers without a broker", 60)
    state = gateway.probe("/readyz")
    assert (state.status_code, state.json()["kafka"][:4]) == (200, "away"), state.text
    assert state.json()["spool"]["records"] > 200
    broker.start()
    at = len(load.answers)
    eventually(lambda: len(load.answers) > at + 100, "answers after its return", 60)
    sent = load.stop()
    eventually(lambda: gateway.metric("spool_records") == 0, "an empty spool", 60)
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
        assert max(slow) < DELIVERY_MS / 1000 + 2
    finally:
        broker.resume()
    sent = load.stop()
    eventually(lambda: gateway.metric("spool_records") == 0, "an empty spool", 90)
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
    assert gateway.metric("spool_records") == sum(map(len, sent.values()))
    broker.start()
    eventually(lambda: gateway.metric("spool_records") == 0, "an empty spool", 60)
    assert_in_order(arrived(broker.bootstrap, topics.callbacks.name, sent), sent)


def test_sigterm_during_an_outage_keeps_what_was_in_hand(
    broker: ApacheKafka, topics: Topics, topic_prefix: str, tmp_path: Path
) -> None:
    limits = {"GATEWAY_DELIVERY_TIMEOUT_MS": "60000", "GATEWAY_SHUTDOWN_TIMEOUT_S": "6"}
    gateway = Gateway(broker.bootstrap, topic_prefix, tmp_path, **limits)
    with gateway.running() as client, concurrent.futures.ThreadPoolExecutor(1) as pool:
        eventually(lambda: gateway.probe("/readyz").json()["kafka"] == "there", "the broker", 30)
        broker.suspend()
        try:
            answer = pool.submit(send, client, callbacks("run-1", 1, 2, 3))
            eventually(lambda: gateway.metric("inflight_bytes") > 0, "the request in hand", 20)
            begun = time.monotonic()
            gateway.server.stop()
            assert time.monotonic() - begun < 8
            assert answer.result().json() == {"accepted": 3, "parked": 0, "spooled": 3}
        finally:
            broker.resume()
    sent = {"run-1": [f"run-1-{number}" for number in (1, 2, 3)]}
    with gateway.running():
        assert_in_order(arrived(broker.bootstrap, topics.callbacks.name, sent), sent)


def test_a_full_spool_is_503_and_stores_no_half(topic_prefix: str, tmp_path: Path) -> None:
    gateway = Gateway(
        f"127.0.0.1:{free_port()}", topic_prefix, tmp_path, GATEWAY_SPOOL_MAX_BYTES="100000"
    )
    with gateway.running() as client:
        assert send(client, callbacks("run-1", 1, padding=50_000)).json()["spooled"] == 1
        refused = send(client, callbacks("run-1", 2, 3, padding=30_000))
        assert (refused.status_code, refused.json()["error"]) == (503, "spool_full")
        assert refused.headers["retry-after"]
        assert gateway.metric("spool_records") == 1
        state = gateway.probe("/readyz")
        assert (state.status_code, state.json()["missing"]["spool"]) == (503, "full")
        assert 'not_stored_total{reason="spool_full"} 1.0' in gateway.probe("/metrics").text


def test_a_full_disk_is_503_and_the_process_stays_up(topic_prefix: str, tmp_path: Path) -> None:
    # A bound on the size of each file that the process may write stands for the disk.
    gateway = Gateway(f"127.0.0.1:{free_port()}", topic_prefix, tmp_path)
    with gateway.running() as client:
        resource.prlimit(gateway.server.pid, resource.RLIMIT_FSIZE, (400_000, FREE))
        for number in range(100):
            answer = send(client, callbacks("run-1", number, padding=20_000))
            if answer.status_code != 202:
                break
        assert (answer.status_code, answer.json()["error"]) == (503, "spool_failed")
        assert gateway.metric("spool_records") == number
        assert gateway.probe("/readyz").status_code == 503
        resource.prlimit(gateway.server.pid, resource.RLIMIT_FSIZE, (FREE, FREE))
        eventually(lambda: gateway.probe("/readyz").status_code == 200, "room again", 30)
        assert send(client, callbacks("run-1", 1_000, padding=20_000)).status_code == 202
