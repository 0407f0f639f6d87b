"""The fleet under test: real brokers and database; gateway, consumers, spend guard as processes."""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import psycopg

from schemas.topics import load_topics
from tests.brokers.class_archive import keep_classes
from tests.brokers.jars import fetch_jars
from tests.brokers.kafka_cluster import KafkaCluster
from tests.brokers.kafka_node import Client
from tests.chaos.books import Sender
from tests.chaos.guarded import FAILED_HOLD_SECONDS, GUARD_LINK, GUARD_SETTINGS
from tests.chaos.process import Exit, Process, alive
from tests.clients import fetching
from tests.databases.embedded_postgres import EmbeddedPostgres
from tests.network.gate import Gate
from tests.network.links import Door, Links
from tests.processes.process import free_port
from tests.waiting import NET_SECONDS, eventually

ROOT = Path(__file__).parents[2]
MEMBERS = 3
KAFKA_VERSION = os.environ.get("CHAOS_KAFKA_VERSION")
"""Another one than the pom's, out of Maven."""
SESSION_TIMEOUT_MS = 3_000
DELIVERY_TIMEOUT_MS = 2_000
CLIENT_OF: Final[Mapping[str, Client]] = {"gateway": "gateway", "consumer": "consumers"}
CONNECTIONS = 40
"""As many as PostgreSQL gives, so that they can be used up."""


class Fleet:
    """Everything that can be hurt. Topics of their own, a database of their own.

    The rooms reach PostgreSQL through `door`, as through the address that a cluster of databases
    has: it can be shut, and lead to another server or to a pooler. Before it the spend guard has a
    link of its own, `GUARD_LINK` of `links`.

    Args:
        kafka: brokers that run.
        postgres: a database server that runs.
        directory: for logs and the spool.
        settings: of the rooms, beyond those of every fleet.
    """

    def __init__(
        self,
        kafka: KafkaCluster,
        postgres: EmbeddedPostgres,
        directory: Path,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.kafka = kafka
        self.postgres = postgres
        self.door = Gate(postgres.database.port)
        to_database = Door(GUARD_LINK, "127.0.0.1", free_port(), self.door.port)
        self.links = Links([to_database], directory / "links-of-the-guard.log")
        self.directory = directory
        self.spool = directory / "spool"
        self.prefix = f"chaos{secrets.token_hex(4)}."
        self.topics = load_topics(self.prefix)
        self.token = secrets.token_urlsafe(32)
        self.gateway_port = free_port()
        self.gateway_url = f"http://127.0.0.1:{self.gateway_port}"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("BILLING_", "GATEWAY_"))},
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "DATABASE_URL": self._url_at(self.door.port),
            "BILLING_TOPIC_PREFIX": self.prefix,
            "BILLING_INGEST_TOKEN": self.token,
            "GATEWAY_PORT": str(self.gateway_port),
            "GATEWAY_DELIVERY_TIMEOUT_MS": str(DELIVERY_TIMEOUT_MS),
            "GATEWAY_SPOOL_DIR": str(self.spool),
            "CONSUMER_GROUP": f"{self.prefix}consumer",
            "CONSUMER_SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
            "CONSUMER_TRANSACTION_TIMEOUT_MS": "3000",
            "CONSUMER_RETRY_MAX_MS": "1000",
            **(settings or {}),
        }
        self._ports = [free_port() for _ in range(2 + MEMBERS)]
        self._made: list[Process] = []
        self._sender: Sender | None = None
        self.gateway = self.gateway_with()
        self.members = [self.member_with(number) for number in range(MEMBERS)]
        guard_port = free_port()
        self.guard_url = f"http://127.0.0.1:{guard_port}"
        own = {"SPEND_GUARD_PORT": str(guard_port), "DATABASE_URL": self._url_at(to_database.port)}
        self.guard = self._process(
            "spend_guard", 1 + MEMBERS, ("spend_guard", "run"), ROOT, {**GUARD_SETTINGS, **own}
        )

    def _url_at(self, port: int) -> str:
        return self.postgres.url.replace(f":{self.postgres.database.port}/", f":{port}/")

    @property
    def processes(self) -> list[Process]:
        """The gateway, the members of the group, and the spend guard."""
        return [self.gateway, *self.members, self.guard]

    @property
    def sender(self) -> Sender:
        """Who posts calls and keeps the books of them."""
        if self._sender is None:
            raise RuntimeError("nobody sends anything")
        return self._sender

    @sender.setter
    def sender(self, sender: Sender) -> None:
        self._sender = sender

    def gateway_with(
        self,
        program: Sequence[str] = ("producer_gateway", "run"),
        settings: Mapping[str, str] | None = None,
    ) -> Process:
        """The gateway, not started; as `member_with`."""
        return self._process("gateway", 0, program, ROOT, settings)

    def member_with(
        self,
        number: int,
        tree: Path = ROOT,
        program: Sequence[str] = ("consumer", "run"),
        settings: Mapping[str, str] | None = None,
    ) -> Process:
        """A member, not started, that may stand in for the one of that number.

        Args:
            number: of the one whose place it takes.
            tree: whose code it runs.
            program: the module that it runs, with arguments.
            settings: beyond those of every member.
        """
        own = dict(settings or {})
        if tree == ROOT:
            # The last release refuses a setting that it does not know.
            own["BILLING_FAILED_HOLD_SECONDS"] = str(FAILED_HOLD_SECONDS)
        return self._process("consumer", 1 + number, program, tree, own)

    def _process(
        self,
        room: str,
        place: int,
        program: Sequence[str],
        tree: Path,
        settings: Mapping[str, str] | None,
    ) -> Process:
        name = f"{room}-{place - 1}" if room == "consumer" else room
        port = self._ports[place]
        own = {f"{room.upper()}_METRICS_PORT": str(port), **(settings or {})}
        if client := CLIENT_OF.get(room):
            # Each kind of client reaches the brokers through links of its own.
            own["KAFKA_BOOTSTRAP_SERVERS"] = self.kafka.bootstrap_of(client)
        # What is loaded before an interpreter needs one of its own.
        forks = tree == ROOT and "LD_PRELOAD" not in own
        made = Process(
            room,
            name,
            [sys.executable, "-m", *program],
            self.directory / f"{name}.log",
            env=self.environment | own,
            cwd=tree,
            metrics_port=port,
            module=program if forks else (),
        )
        self._made.append(made)
        return made

    @contextmanager
    def standing_in(self, process: Process) -> Iterator[None]:
        """A process serves in the place of the one whose port it has, for as long as the block."""
        ports = [own.metrics_port for own in self.processes]
        place = ports.index(process.metrics_port)
        usual = self.processes[place]
        usual.stop()
        self._put(place, process)
        process.start()
        self.wait_for_gateway()
        try:
            yield
        finally:
            process.stop()
            self._put(place, usual)
            usual.start()
            self.wait_for_gateway()

    def _put(self, place: int, process: Process) -> None:
        if place:
            self.members[place - 1] = process
        else:
            self.gateway = process

    def crashing_member(self, number: int, step: str, batch: int) -> Process:
        """A consumer, not started, that kills itself at `step` of its `batch`-th batch."""
        return self.member_with(number, program=("tests.chaos.crash", step, str(batch)))

    def exits(self) -> list[Exit]:
        """The ends of processes, since the last time, that nobody brought about by a call."""
        found = [exit_ for process in self._made for exit_ in process.exits]
        for process in self._made:
            process.exits.clear()
        self._made = self.processes
        return found

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
        self.links.start()
        for process in self.processes:
            process.start()
        self.wait_for_gateway()
        eventually(self.guard.is_ready, "the spend guard to be ready")
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

    def receipts_of(self, response_ids: Sequence[str]) -> int:
        """How many of these calls have a receipt; 0 while the database is away."""
        question = "SELECT count(*) FROM billing.charge_receipts WHERE response_id = ANY(%s)"
        try:
            with psycopg.connect(self.postgres.url, connect_timeout=2) as connection:
                row = connection.execute(question, [list(response_ids)]).fetchone()
        except psycopg.OperationalError:
            return 0
        return int(row[0]) if row else 0

    def mend(self) -> None:
        """Start again whatever has ended, as a supervisor does; it counts among the `exits`."""
        ended = [process for process in self.processes if not alive(process)]
        for process in ended:
            process.kill()
            process.start()
        if self.gateway in ended:
            self.wait_for_gateway()

    def stop(self) -> None:
        """End the rooms, in order."""
        for process in self.processes:
            process.stop()
        self.links.stop()
        self.door.shut()


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
    postgres = EmbeddedPostgres(("-c", f"max_connections={CONNECTIONS}"))
    try:
        kafka.start()
        postgres.start()
        fleet = Fleet(kafka, postgres, directory, settings)
        try:
            fleet.start()
            yield fleet
        finally:
            fleet.stop()
    finally:
        kafka.end()
        postgres.kill()
        postgres.remove()


def has_partitions(member: Process) -> bool:
    """Whether a consumer was given partitions in any of its lives."""
    return '"partitions assigned"' in member.log.read_text(errors="replace")
