"""Consumers as real processes on topics of their own, and what they leave behind."""

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from operator_cli.cluster import Cluster
from schemas.headers import SOURCE, Headers
from schemas.reader import identify
from schemas.topics import load_topics
from tests.brokers.made_topics import await_topics
from tests.clients import fetching
from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger
from tests.observers.topics import TopicRecord, Topics, committed_offsets
from tests.processes import forked, room
from tests.processes.forked import Process
from tests.processes.process import exit_code, free_port, whole_lines
from tests.waiting import NET_SECONDS, eventually

ROOT = Path(__file__).parents[2]
CALLBACKS = "billing.callbacks.v1"
DEAD_LETTERS = "billing.callbacks.v1.dlq"
RECEIPTS = "billing.receipts.v1"
USAGE_UNITS = "billing.usage-units.v1"
QUICK = {
    "CONSUMER_SESSION_TIMEOUT_MS": "6000",
    "CONSUMER_RETRY_MAX_MS": "500",
    "CONSUMER_TRANSACTION_TIMEOUT_MS": "10000",
    "CONSUMER_DEAD_LETTER_SHARE": "1",
}
"""Settings that let a test see in seconds what takes longer in production."""


@dataclass
class Member:
    """One `python -m consumer run`."""

    process: Process
    log: Path
    metrics_url: str

    def lines(self) -> list[dict[str, object]]:
        """What it logged."""
        return [json.loads(line) for line in whole_lines(self.log) if line.startswith("{")]

    def said(self, event: str, times: int = 1) -> bool:
        """Whether it logged this event so often; fails when it has ended."""
        assert self.process.poll() is None, self.log.read_text(errors="replace")[-3_000:]
        return sum(line.get("event") == event for line in self.lines()) >= times

    def counted(self, name: str) -> float:
        """The sum of its samples whose name and labels begin so; 0 where there are none."""
        text = fetching.get(f"{self.metrics_url}/metrics").text
        found = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name)]
        return sum(map(float, found))

    def end(self, how: signal.Signals = signal.SIGTERM, seconds: float = 40) -> int:
        """Send a signal and wait, for so many seconds by a `Stopwatch`; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return exit_code(self.process, "the member", seconds)
        except TimeoutError:
            self.process.kill()
            self.process.wait(NET_SECONDS)
            raise

    def probe(self, path: str) -> int:
        """The status of a probe."""
        url = self.metrics_url + path
        return fetching.get(url).status_code


@dataclass
class Consuming:
    """Topics, tables and members of one test; `prefix` keeps them apart from all others."""

    bootstrap: str
    database_url: str
    prefix: str
    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Create the topics."""
        self._make_topics()
        self.group = f"{self.prefix}consumer"
        self.members: list[Member] = []
        self.tables = Ledger(self.database_url)
        self.topics = Topics(
            Deployment(
                gateway_url="",
                gateway_metrics_url="",
                consumer_metrics_url="",
                token="",
                database_url=self.database_url,
                bootstrap=self.bootstrap,
                topic_prefix=self.prefix,
                group=self.group,
            )
        )
        self._refused: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "partitioner": "murmur2_random",
                "acks": "all",
                "message.max.bytes": 16 * 1024 * 1024,
            }
        )

    def close(self) -> None:
        """End what is left."""
        for member in self.members:
            if member.process.poll() is None:
                member.end(signal.SIGKILL)
        self.topics.close()

    def environment(self, **settings: str) -> dict[str, str]:
        """What a process of this consumer is started with."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("BILLING_", "CONSUMER_"))}
        return {
            **kept,
            **QUICK,
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "DATABASE_URL": self.database_url,
            "BILLING_TOPIC_PREFIX": self.prefix,
            "CONSUMER_GROUP": self.group,
            "CONSUMER_METRICS_PORT": "0",
            **self.settings,
            **settings,
        }

    def member(
        self,
        *,
        ready: bool = True,
        program: Sequence[str] = ("consumer", "run"),
        **settings: str,
    ) -> Member:
        """Start a member; `ready` waits until it has partitions; `program` is another release."""
        port = free_port()
        environment = self.environment(CONSUMER_METRICS_PORT=str(port), **settings)
        path = self.directory / f"member-{len(self.members)}.log"
        with path.open("wb") as log:
            process = forked.start(program, environment=environment, stdout=log)
        member = Member(process, path, f"http://127.0.0.1:{port}")
        self.members.append(member)
        if ready:
            eventually(lambda: member.said("partitions assigned"), "partitions for the member")
        return member

    def command(self, *arguments: str, **settings: str) -> str:
        """Run a command of the consumer that must succeed; what it printed."""
        done = self._run(arguments, settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tried(self, *arguments: str, **settings: str) -> tuple[int, str]:
        """Run a command of the consumer; its exit code, and all that it said."""
        done = self._run(arguments, settings)
        return done.returncode, done.stdout + done.stderr

    def _run(
        self, arguments: Sequence[str], settings: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return room.run(self.environment(**settings), *arguments)

    def make_anew(self) -> None:
        """Delete the callbacks topic and make it again: its offsets mean other records then."""
        admin, name = AdminClient({"bootstrap.servers": self.bootstrap}), self.prefix + CALLBACKS
        admin.delete_topics([name])[name].result(NET_SECONDS)
        eventually(
            lambda: name not in admin.list_topics(timeout=NET_SECONDS).topics, "it to be gone"
        )
        self._make_topics()

    def _make_topics(self) -> None:
        declared = load_topics(self.prefix)
        cluster = Cluster({"bootstrap.servers": self.bootstrap}, replication_factor=1)
        cluster.apply(cluster.differences(declared))
        await_topics(self.bootstrap, [(topic.name, topic.partitions) for topic in declared.all()])

    def send(self, *values: bytes, source: str = "", headers: Headers | None = None) -> None:
        """Produce callbacks as the gateway does: keyed by run, in order."""
        for value in values:
            try:
                key = identify(value).run_id.encode()
            except ValueError:
                key = b"unreadable"
            self.produce(CALLBACKS, key, value, source=source, headers=headers)
        self.flush()

    def produce(
        self,
        topic: str,
        key: bytes,
        value: bytes,
        *,
        source: str = "",
        headers: Headers | None = None,
    ) -> None:
        """Produce one record; `flush` waits for it."""
        added: Headers = [(SOURCE, source.encode())] if source else []
        every = [*(headers or []), *added]
        self._producer.produce(
            self.prefix + topic,
            value,
            key,
            headers=every,  # type: ignore[arg-type]
            on_delivery=self._delivered,
        )
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until the broker has everything."""
        assert self._producer.flush(NET_SECONDS) == 0
        assert not self._refused, f"not produced: {self._refused}"

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._refused.append(error.str())

    def all_committed(self) -> None:
        """Wait until the group has committed everything that was sent."""
        self.topics.wait_until_consumed()

    def committed(self) -> int:
        """How many callbacks the group has committed."""
        asker = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group})
        topic = self.prefix + CALLBACKS
        asked = [TopicPartition(topic, number) for number in self.topics.ends(CALLBACKS)]
        try:
            return sum(max(at.offset, 0) for at in committed_offsets(asker, asked))
        finally:
            asker.close()

    def events(self) -> list[TopicRecord]:
        """What a `read_committed` subscriber sees on the receipts topic."""
        return self.topics.since(RECEIPTS, {})

    def dead_letters(self) -> list[TopicRecord]:
        """What a `read_committed` reader sees among the dead letters."""
        return self.topics.since(DEAD_LETTERS, {})

    def every_receipt_is_published_once(self, count: int) -> None:
        """RECEIPTS_PUBLISHED_EXACTLY_ONCE: the events are the receipts, one for one."""
        written = {str(row["id"]): row["cost_text"] for row in self.tables.receipts()}
        published = Counter(event.headers["ce_id"].decode() for event in self.events())
        assert len(written) == count
        assert published == dict.fromkeys(written, 1)
        for event in self.events():
            data = json.loads(event.value)
            assert written[data["id"]] == data["response_cost_usd"]


def assigned(members: Sequence[Member]) -> list[int]:
    """How many partitions each member says it holds."""
    found = []
    for member in members:
        text = fetching.get(f"{member.metrics_url}/metrics").text
        line = next(
            line
            for line in text.splitlines()
            if line.startswith("billing_consumer_assigned_partitions ")
        )
        found.append(int(float(line.split()[1])))
    return found
