"""The fleet under test: real brokers, real database, a gateway, several consumers, as processes."""

import os
import secrets
import subprocess
import sys
from collections import ChainMap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from schemas.topics import load_topics
from tests.services import fetching
from tests.services.class_archive import keep_classes
from tests.services.embedded_postgres import EmbeddedPostgres
from tests.services.jars import fetch_jars
from tests.services.kafka_cluster import KafkaCluster
from tests.services.kafka_node import Client
from tests.services.process import Server, free_port
from tests.services.waiting import NET_SECONDS, eventually

ROOT = Path(__file__).parents[2]
MEMBERS = 3
KAFKA_VERSION = os.environ.get("CHAOS_KAFKA_VERSION")
"""Another one than the pom's, out of Maven."""
SESSION_TIMEOUT_MS = 3_000
DELIVERY_TIMEOUT_MS = 2_000


class Fleet:
    """Everything that can be hurt. Topics of their own, a database of their own.

    Args:
        kafka: brokers that run.
        postgres: a database server that runs.
        directory: for logs and the spool.
    """

    def __init__(self, kafka: KafkaCluster, postgres: EmbeddedPostgres, directory: Path) -> None:
        self.kafka = kafka
        self.postgres = postgres
        self._directory = directory
        self.spool = directory / "spool"
        self.prefix = f"chaos{secrets.token_hex(4)}."
        self.topics = load_topics(self.prefix)
        self.token = secrets.token_urlsafe(32)
        self.gateway_port = free_port()
        self.gateway_url = f"http://127.0.0.1:{self.gateway_port}"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("BILLING_", "GATEWAY_"))},
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "DATABASE_URL": postgres.url,
            "BILLING_TOPIC_PREFIX": self.prefix,
            "BILLING_INGEST_TOKEN": self.token,
            "GATEWAY_PORT": str(self.gateway_port),
            "GATEWAY_METRICS_PORT": "0",
            "GATEWAY_DELIVERY_TIMEOUT_MS": str(DELIVERY_TIMEOUT_MS),
            "GATEWAY_SPOOL_DIR": str(self.spool),
            "CONSUMER_GROUP": f"{self.prefix}consumer",
            "CONSUMER_METRICS_PORT": "0",
            "CONSUMER_SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
            "CONSUMER_TRANSACTION_TIMEOUT_MS": "3000",
            "CONSUMER_RETRY_MAX_MS": "1000",
        }
        self.gateway = self._server("gateway", "gateway", "producer_gateway", "run")
        self.members = [self._member(n, "consumer", "run") for n in range(MEMBERS)]

    def _member(self, number: int, *module: str) -> Server:
        return self._server(f"consumer-{number}", "consumers", *module)

    def _server(self, name: str, client: Client, *module: str) -> Server:
        command = [sys.executable, "-m", *module]
        log = self._directory / f"{name}.log"
        # Each kind of client reaches the brokers through links of its own.
        own = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_of(client)}
        return Server(name, command, log, env=ChainMap(own, self.environment), cwd=ROOT)

    def crashing_member(self, number: int, step: str, batch: int) -> Server:
        """A consumer, not started, that kills itself at `step` of its `batch`-th batch."""
        return self._member(number, "tests.chaos.crash", step, str(batch))

    def start(self) -> None:
        """Prepare the schema and the topics, start the rooms, wait until they serve."""
        for command in (["migrate"], ["topics", "--apply"]):
            subprocess.run(
                [sys.executable, "-m", "consumer", *command],
                env=self.environment,
                cwd=ROOT,
                check=True,
                capture_output=True,
                timeout=NET_SECONDS,
            )
        self.gateway.start()
        for member in self.members:
            member.start()
        self.wait_for_gateway()
        eventually(lambda: all(map(has_partitions, self.members)), "partitions for all members", 60)

    def wait_for_gateway(self, deadline_seconds: float = 60) -> None:
        """Wait until the gateway answers at its door."""

        def answers() -> bool:
            self.gateway.check()
            try:
                return fetching.probe(f"{self.gateway_url}/").status_code > 0
            except httpx.TransportError:
                return False

        eventually(answers, "the gateway to answer", deadline_seconds)

    def mend(self) -> None:
        """Start again whatever a fault has ended."""
        for server in (self.gateway, *self.members):
            if not alive(server):
                server.kill()
                server.start()
        self.wait_for_gateway()

    def aborted(self) -> list[str]:
        """The rooms that a library's assertion has ended in any of their lives: no fault does so.

        `mend` starts them again, and the books agree all the same.
        """
        rooms = (self.gateway, *self.members)
        return [room.name for room in rooms if b"Assertion `" in room.log.read_bytes()]

    def stop(self) -> None:
        """End the rooms, in order."""
        for server in (self.gateway, *self.members):
            server.stop()


@contextmanager
def running_fleet(directory: Path, **settings: str) -> Iterator[Fleet]:
    """A fleet that serves, on brokers and a database of its own; all of it ends with the block.

    Args:
        directory: an empty one, for the brokers' data, the logs and the spool.
        settings: of the rooms, beyond those of every fleet.
    """
    jars = fetch_jars(print, KAFKA_VERSION)
    keep_classes(jars, print)
    kafka = KafkaCluster(jars, directory)
    postgres = EmbeddedPostgres()
    try:
        kafka.start()
        postgres.start()
        fleet = Fleet(kafka, postgres, directory)
        fleet.environment.update(settings)
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.stop()
    finally:
        kafka.end()
        postgres.kill()
        postgres.remove()


def has_partitions(member: Server) -> bool:
    """Whether a consumer was given partitions in any of its lives."""
    return '"partitions assigned"' in member.log.read_text(errors="replace")


def alive(server: Server) -> bool:
    """Whether the process runs."""
    try:
        os.kill(server.pid, 0)
        server.check()
    except (RuntimeError, ProcessLookupError):
        return False
    return True
