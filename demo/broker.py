"""The embedded Kafka: noida-db, for demos and tests only.

It keeps its records in memory and saves them now and then: a crash forgets what a real broker
would keep.
"""

import signal
import socket
import sys
from importlib.resources import files
from pathlib import Path

from demo.process import Service
from demo.settings import LOOPBACK

_RELAY = Path(__file__).with_name("relay.py")


class Broker:
    """One embedded broker on a loopback port, its data below `directory`.

    Clients connect to `port`; behind the relay there, the broker itself listens on `inner_port`.
    """

    def __init__(self, directory: Path, port: int, inner_port: int) -> None:
        self.directory = directory
        self.port = port
        self._inner_port = inner_port
        self.bootstrap_servers = f"{LOOPBACK}:{port}"

    def command(self) -> tuple[str, ...]:
        """Return the command line that runs the broker in the foreground, with its relay."""
        # The binary itself, not its Python wrapper: a signal must reach the broker.
        binary = files("noida_db").joinpath("noida-db")
        options = ("--only", "kafka", "--kafka-port", str(self._inner_port), "--host", LOOPBACK)
        broker = (str(binary), "start", *options, "--data-dir", str(self.directory))
        ports = (str(self.port), str(self._inner_port))
        return (sys.executable, "-I", "-S", str(_RELAY), *ports, *broker)

    def is_ready(self) -> bool:
        """Say whether the broker takes connections."""
        try:
            socket.create_connection((LOOPBACK, self._inner_port), timeout=1).close()
        except OSError:
            return False
        return True

    def service(self, environment: dict[str, str]) -> Service:
        """Return the broker as a service of a stack; creates its data directory."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return Service(
            name="kafka",
            command=self.command(),
            environment=environment,
            directory=self.directory,
            ready=self.is_ready,
            stop_signal=signal.SIGINT,
            address=self.bootstrap_servers,
        )
