"""Broker and database in containers, for machines where a Docker engine answers."""

import shutil
import subprocess
from collections.abc import Sequence

import psycopg
from testcontainers.core.container import DockerContainer

from tests.services.apache_kafka import answers, broker_settings
from tests.services.jars import kafka_version
from tests.services.process import free_port
from tests.services.waiting import eventually

POSTGRES_VERSION = "18"
PASSWORD = "tests-only"  # noqa: S105 - a throw-away server on loopback


def engine_answers() -> bool:
    """Whether a Docker engine answers the docker command within five seconds."""
    if shutil.which("docker") is None:
        return False
    try:
        asked = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            check=False,
            timeout=5,
        )
    except subprocess.TimeoutExpired:
        return False
    return asked.returncode == 0


class DockerKafka:
    """The official image of Apache Kafka, with the same settings as the broker from the jars."""

    def __init__(self) -> None:
        self.version = kafka_version()
        self._container = DockerContainer(f"apache/kafka:{self.version}")
        port = free_port()
        self.bootstrap = f"127.0.0.1:{port}"
        settings = broker_settings(port, 9093, "/tmp/kafka-data")  # noqa: S108 - in the container
        # Inside it must listen on the container's own address; outside it is 127.0.0.1.
        settings["listeners"] = f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://127.0.0.1:9093"
        for key, value in settings.items():
            self._container.with_env(f"KAFKA_{key.upper().replace('.', '_')}", value)
        self._container.with_bind_ports(port, port)

    def start(self) -> None:
        """Start the container and wait until the broker answers."""
        self._container.start()
        eventually(lambda: answers(self.bootstrap), f"Apache Kafka on {self.bootstrap}", 90)

    def remove(self) -> None:
        """Remove the container."""
        self._container.stop()


class DockerPostgres:
    """The official image of PostgreSQL; `options` go on the server's command line."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.version = POSTGRES_VERSION
        self._container = DockerContainer(f"postgres:{POSTGRES_VERSION}")
        port = free_port()
        self.url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
        self._container.with_env("POSTGRES_PASSWORD", PASSWORD)
        self._container.with_bind_ports(5432, port)
        self._container.with_command([*options])

    def start(self) -> None:
        """Start the container and wait until the server answers."""
        self._container.start()
        eventually(self._up, "PostgreSQL in its container", 90)

    def _up(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Remove the container."""
        self._container.stop()

    def remove(self) -> None:
        """Nothing stays behind."""
