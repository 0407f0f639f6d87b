"""The broker and the database that everything is measured on, and the processes under measure."""

import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import httpx
import psutil
import psycopg
from confluent_kafka.admin import AdminClient

from ledger import migration
from operator_cli.cluster import Cluster
from schemas.topics import load_topics
from tests.brokers.broker import BrokerError, choose_broker, make_broker, prepare_broker
from tests.databases.database import choose_database, fresh_database, make_database
from tests.processes.compiled import compiled, where
from tests.processes.process import Server, free_port
from tests.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
_ROOMS: Final = (
    *("BILLING_", "GATEWAY_", "CONSUMER_", "SPEND_GUARD_", "ESTIMATE"),
    *("KAFKA_", "DATABASE_"),
)
POSTGRESQL: Final = {
    "shared_buffers": f"{psutil.virtual_memory().total // 4 // 2**20}MB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "15min",
}
"""What docs/operations.md advises; PostgreSQL's own defaults are for a small machine."""
_DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True)
class Gateway:
    """A gateway, or what else is asked over HTTP, that serves."""

    process: Server
    port: int
    token: str


@dataclass(frozen=True)
class Services:
    """Apache Kafka and PostgreSQL that run, and a directory for logs."""

    bootstrap: str
    database_server: str
    template: str
    directory: Path
    versions: Mapping[str, str]
    rooms: Path
    """Where the rooms are run from: with compiled modules as in the image, or the source."""

    @contextmanager
    def topics(self) -> Iterator[str]:
        """Topics of their own; yields the prefix of their names, and deletes them at the end."""
        prefix = f"bench{secrets.token_hex(4)}."
        declared = load_topics(prefix)
        # Such clients live until they are collected, and would complain when the broker is gone.
        client: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.bootstrap,
            "log_level": 2,
        }
        cluster = Cluster(client, replication_factor=1)
        cluster.apply(cluster.differences(declared))
        try:
            yield prefix
        finally:
            admin = AdminClient(client)
            names = [topic.name for topic in declared.all()]
            for deleted in admin.delete_topics(names, operation_timeout=30).values():
                deleted.result(60)

    @contextmanager
    def database(self) -> Iterator[str]:
        """An empty ledger of its own, dropped at the end."""
        with fresh_database(self.database_server, self.template) as url:
            yield url

    @contextmanager
    def empty_database(self) -> Iterator[str]:
        """A database of its own that holds nothing, dropped at the end."""
        with fresh_database(self.database_server) as url:
            yield url

    @contextmanager
    def gateway(self, prefix: str, launcher: tuple[str, ...] = ()) -> Iterator[Gateway]:
        """One gateway process that is ready, with a spool as in production.

        Args:
            prefix: of its topics.
            launcher: command line in front of `-m producer_gateway run`; default: our Python.
        """
        port, probes, token = free_port(), free_port(), secrets.token_urlsafe(32)
        environment = {
            "GATEWAY_PORT": str(port),
            "GATEWAY_METRICS_PORT": str(probes),
            "GATEWAY_SPOOL_DIR": str(self.directory / f"spool-{port}"),
            "BILLING_INGEST_TOKEN": token,
        }
        with self._room("producer_gateway", prefix, environment, launcher) as process:
            wait_for_http(process, f"http://127.0.0.1:{probes}/readyz", 200)
            yield Gateway(process, port, token)

    @contextmanager
    def consumer(
        self,
        prefix: str,
        database_url: str,
        group: str,
        launcher: tuple[str, ...] = (),
        metrics_port: int = 0,
    ) -> Iterator[Server]:
        """One consumer process, started; it may take seconds until it has its partitions.

        Args:
            prefix: of its topics.
            database_url: an empty or a grown ledger.
            group: its consumer group; a new one reads from the beginning.
            launcher: as for `gateway`.
            metrics_port: of its probes and metrics; 0 takes any.
        """
        environment = {
            "DATABASE_URL": database_url,
            "CONSUMER_GROUP": group,
            "CONSUMER_METRICS_PORT": str(metrics_port),
        }
        with self._room("consumer", prefix, environment, launcher) as process:
            yield process

    @contextmanager
    def guard(self, database_url: str) -> Iterator[Gateway]:
        """One spend guard process that is ready, with the defaults of its settings."""
        port, probes, token = free_port(), free_port(), secrets.token_urlsafe(32)
        environment = {
            "DATABASE_URL": database_url,
            "SPEND_GUARD_TOKENS": token,
            "SPEND_GUARD_PORT": str(port),
            "SPEND_GUARD_METRICS_PORT": str(probes),
        }
        with self._room("spend_guard", "", environment, ()) as process:
            wait_for_http(process, f"http://127.0.0.1:{probes}/readyz", 200)
            yield Gateway(process, port, token)

    @contextmanager
    def program(self, module: str, prefix: str, settings: Mapping[str, str]) -> Iterator[Server]:
        """Another program in place of a room, told the same as the room: `python -m MODULE`."""
        command = (sys.executable, "-m", module)
        with self._process(module, command, prefix, settings) as process:
            yield process

    @contextmanager
    def _room(
        self, module: str, prefix: str, settings: Mapping[str, str], launcher: tuple[str, ...]
    ) -> Iterator[Server]:
        command = (*(launcher or (sys.executable,)), "-m", module, "run")
        with self._process(module, command, prefix, {**settings, **where(self.rooms)}) as process:
            yield process

    @contextmanager
    def _process(
        self, name: str, command: tuple[str, ...], prefix: str, settings: Mapping[str, str]
    ) -> Iterator[Server]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(_ROOMS)}
        connection = {"KAFKA_BOOTSTRAP_SERVERS": self.bootstrap, "BILLING_TOPIC_PREFIX": prefix}
        log = self.directory / f"{name}-{secrets.token_hex(4)}.log"
        environment = {**kept, **connection, **settings}
        server = Server(name, command, log, env=environment, cwd=ROOT)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def wait_for_http(process: Server, url: str, status: int) -> None:
    """Wait until `url`, served by `process`, is answered with `status`."""

    def answers() -> bool:
        process.check()
        try:
            return httpx.get(url, timeout=5, trust_env=False).status_code == status
        except httpx.TransportError:
            return False

    eventually(answers, f"{process.name} to be ready", 60)


@contextmanager
def running_services(*, source: bool = False) -> Iterator[Services]:
    """Start the reference broker and the database; both end with the context.

    Args:
        source: run the rooms from their source alone, not with the compiled modules of the image.

    Raises:
        CompilerError: there is no C compiler; `source` needs none.
        BrokerError: this is not Apache Kafka, or the database does not write durably.
    """
    rooms = ROOT if source else compiled()
    choice = prepare_broker(choose_broker(), print, ci=False)
    if choice.kind == "embedded":
        raise BrokerError(f"figures need Apache Kafka, and here is only {choice}")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="billing-bench-")))
        broker_directory = directory / "broker"
        broker_directory.mkdir()
        broker = make_broker(choice, broker_directory, measured=True)
        broker.start()
        stack.callback(broker.remove)
        database = make_database(choose_database(), POSTGRESQL)
        stack.callback(database.remove)
        database.start()
        stack.callback(database.stop)
        template = stack.enter_context(fresh_database(database.url))
        migration.migrate(template)
        build = "none" if source else f"by mypyc {version('mypy')}"
        versions = {"Apache Kafka": broker.version, **about(database.url), "compiled": build}
        name = template.partition("?")[0].rpartition("/")[2]
        yield Services(broker.bootstrap, database.url, name, directory, versions, rooms)


def about(url: str) -> dict[str, str]:
    """The server's version and settings, by name.

    Raises:
        BrokerError: a commit is not on the disk when it returns.
    """
    with psycopg.connect(url) as connection:
        for setting in _DURABLE:
            row = connection.execute(f"SHOW {setting}".encode()).fetchone()
            if row is None or row[0] != "on":
                raise BrokerError(
                    f"PostgreSQL has {setting} = {row and row[0]}; figures need it on"
                )
        shown = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in POSTGRESQL]
        said = {name: str(row[0]) for name, row in zip(POSTGRESQL, shown, strict=True) if row}
        return {"PostgreSQL": str(connection.info.parameter_status("server_version")), **said}
