"""PostgreSQL in a container, for machines where a Docker engine answers."""

from collections.abc import Sequence

import psycopg
from testcontainers.core.container import DockerContainer

from tests.processes.process import free_port
from tests.waiting import eventually

POSTGRES_VERSION = "18"
PASSWORD = "tests-only"  # noqa: S105 - a throw-away server on loopback


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
