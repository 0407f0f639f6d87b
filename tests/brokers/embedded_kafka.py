"""The demo's Kafka from a wheel, in memory: for machines with Python only."""

import importlib.metadata
from pathlib import Path

from demo.broker import Broker
from tests.brokers.apache_kafka import answers
from tests.processes.process import Server, free_port
from tests.waiting import eventually


class EmbeddedKafka:
    """One broker process; its data does not survive it reliably.

    Args:
        directory: an empty directory for its data and its log.
    """

    def __init__(self, directory: Path) -> None:
        self.version = importlib.metadata.version("noida-db")
        broker = Broker(directory / "data", free_port(), free_port())
        self.bootstrap = broker.bootstrap_servers
        self._server = Server(
            f"noida-db {self.version}", broker.command(), directory / "broker.log"
        )

    def start(self) -> None:
        """Start the broker and wait until it answers."""
        self._server.start()

        def up() -> bool:
            self._server.check()
            return answers(self.bootstrap)

        eventually(up, f"the embedded broker on {self.bootstrap}", 20)

    def stop(self) -> None:
        """End it in order."""
        self._server.stop()

    def remove(self) -> None:
        """End it for good."""
        self._server.kill()
