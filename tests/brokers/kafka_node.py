"""One of three nodes of Apache Kafka: its properties, its names for the others, its process."""

import signal
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.brokers.apache_kafka import broker_settings, java_command
from tests.brokers.jars import version_of
from tests.processes.process import Server, ServerError, free_port

NODES: Final = (1, 2, 3)
LEAST_IN_SYNC: Final = 2
Client = Literal["gateway", "consumers"]
CLIENTS: Final[tuple[Client, ...]] = ("gateway", "consumers")
LAG_MS: Final = 4_000
"""After so long a follower that does not follow is no longer waited for; Kafka's own is 30 s."""
ASK_SECONDS: Final = 5.0


def admin_of(bootstrap: str) -> AdminClient:
    """A client of the tests, which says nothing of brokers that are away."""
    # Asks again soon where nobody listens yet.
    return AdminClient(
        {
            "bootstrap.servers": bootstrap,
            "reconnect.backoff.max.ms": 200,
            "log_level": 0,
        }
    )


def heard_at(speaker: int, listener: int) -> str:
    """The address at which node `speaker` finds its peer `listener`."""
    return f"127.0.{speaker}.{listener}"


@dataclass
class Ports:
    """Where a node listens on 127.0.0.1, and where its clients' links do."""

    tests: int = field(default_factory=free_port)
    peers: int = field(default_factory=free_port)
    controller: int = field(default_factory=free_port)
    clients: dict[Client, int] = field(
        default_factory=lambda: {client: free_port() for client in CLIENTS}
    )
    links: dict[Client, int] = field(
        default_factory=lambda: {client: free_port() for client in CLIENTS}
    )


def node_settings(
    number: int, ports: dict[int, Ports], data: str, session_ms: int
) -> dict[str, str]:
    """The properties of one node.

    Args:
        number: of the node.
        ports: of all nodes.
        data: its log directory.
        session_ms: for how long the controller does without its heartbeats.
    """
    own = ports[number]
    listeners = {"TESTS": own.tests, "PEERS": own.peers, "CONTROLLER": own.controller}
    listeners |= {client.upper(): port for client, port in own.clients.items()}
    advertised = {
        "TESTS": f"127.0.0.1:{own.tests}",
        "PEERS": f"node-{number}:{own.peers}",
        "CONTROLLER": f"node-{number}:{own.controller}",
        **{client.upper(): f"127.0.0.1:{port}" for client, port in own.links.items()},
    }
    voters = (f"{peer}@node-{peer}:{there.controller}" for peer, there in ports.items())
    return {
        **broker_settings(own.tests, own.controller, data, session_ms),
        "node.id": str(number),
        "controller.quorum.voters": ",".join(voters),
        "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
        "advertised.listeners": ",".join(f"{name}://{at}" for name, at in advertised.items()),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
        "inter.broker.listener.name": "PEERS",
        "default.replication.factor": str(len(NODES)),
        "min.insync.replicas": str(LEAST_IN_SYNC),
        "offsets.topic.replication.factor": str(len(NODES)),
        "transaction.state.log.replication.factor": str(len(NODES)),
        "transaction.state.log.min.isr": str(LEAST_IN_SYNC),
        "replica.lag.time.max.ms": str(LAG_MS),
        # Three small heaps in place of a large one.
        "log.cleaner.dedupe.buffer.size": str(8 * 1024**2),
        "num.network.threads": "2",
        "num.io.threads": "4",
    }


class Node:
    """One broker and controller that keeps its ports and its data over stops and kills."""

    def __init__(
        self, number: int, ports: dict[int, Ports], jars: Path, directory: Path, session_ms: int
    ) -> None:
        directory.mkdir()
        self.number = number
        self.data = directory / "data"
        self.direct = f"127.0.0.1:{ports[number].tests}"
        settings = node_settings(number, ports, str(self.data), session_ms)
        self.properties = directory / "server.properties"
        self.properties.write_text("".join(f"{k}={v}\n" for k, v in settings.items()))
        hosts = directory / "hosts"
        hosts.write_text("".join(f"{at} {name}\n" for name, at in self._hosts().items()))
        self.java = java_command(jars, directory, "320m")
        self.server = Server(
            f"node {number} of Apache Kafka {version_of(jars)}",
            [*self.java, f"-Djdk.net.hosts.file={hosts}", "kafka.Kafka", str(self.properties)],
            directory / "broker.log",
            # Nodes that all end in order wait for each other, and a frozen one for its release.
            orphan_signal=signal.SIGKILL,
        )

    def _hosts(self) -> dict[str, str]:
        """Every name that the JVM can resolve; it asks nobody else."""
        peers = {f"node-{peer}": heard_at(self.number, peer) for peer in NODES}
        own = (f"node-{self.number}", "localhost", socket.gethostname())
        return {**peers, **dict.fromkeys(own, "127.0.0.1")}

    @property
    def runs(self) -> bool:
        """Whether its process does, frozen or not."""
        try:
            self.server.check()
        except ServerError:
            return False
        return True

    def brokers(self) -> set[int]:
        """The brokers that this one knows to be there; none where it does not answer."""
        try:
            return set(admin_of(self.direct).list_topics(timeout=ASK_SECONDS).brokers)
        except KafkaException:
            return set()
