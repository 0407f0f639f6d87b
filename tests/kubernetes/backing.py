"""What the chart does not bring: Kafka and PostgreSQL, at the node's own address."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.brokers.apache_kafka import SHORT_SESSION_MS, ApacheKafka
from tests.brokers.jars import fetch_jars
from tests.databases.embedded_postgres import EmbeddedPostgres
from tests.kubernetes.control_plane import ADVERTISED


@dataclass(frozen=True)
class Backing:
    """Servers that the pods reach, and that can be hurt."""

    kafka: ApacheKafka
    postgres: EmbeddedPostgres

    @property
    def database_url(self) -> str:
        """The database's URL as pods reach it."""
        return self.postgres.url.replace("@127.0.0.1:", f"@{ADVERTISED}:")


@contextmanager
def running_backing(directory: Path) -> Iterator[Backing]:
    """Start both, for as long as the block; the node's address must be there.

    Raises:
        ServerError: one of them ended.
    """
    directory.mkdir()
    rules = directory / "pg_hba.conf"
    rules.write_text("host all all 0.0.0.0/0 scram-sha-256\n")
    rules.chmod(0o644)
    options = (f"listen_addresses=127.0.0.1,{ADVERTISED}", f"hba_file={rules}")
    jars = fetch_jars(print)
    kafka = ApacheKafka(jars, directory, session_ms=SHORT_SESSION_MS, host=ADVERTISED)
    postgres = EmbeddedPostgres([part for one in options for part in ("-c", one)])
    with ExitStack() as stack:
        kafka.start()
        stack.callback(kafka.remove)
        postgres.start()
        stack.callback(postgres.remove)
        stack.callback(postgres.kill)
        yield Backing(kafka, postgres)
