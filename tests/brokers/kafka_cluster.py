"""Apache Kafka on three nodes, and a network between them and their clients that can be hurt.

Each node is broker and controller. Whatever one node says to another goes through a link of that
pair, and so does whatever the gateway's and the consumers' clients say to a node:

- A node advertises to its peers a name, `node-2`. Each JVM has a file of hosts of its own, in
  which the names of its peers are loopback addresses of that pair (Linux has all of 127.0.0.0/8),
  where the pair's link listens on the very port that the node has on 127.0.0.1.
- A node has a listener for each kind of client, which advertises the port of its link.

The tests' own clients have a listener without a link.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._metadata import ClusterMetadata

from tests.brokers.apache_kafka import SHORT_SESSION_MS, described, format_storage
from tests.brokers.jars import version_of
from tests.brokers.kafka_node import (
    ASK_SECONDS,
    CLIENTS,
    NODES,
    Client,
    Node,
    Ports,
    admin_of,
    heard_at,
)
from tests.network.links import Door, Links
from tests.processes.process import ServerError
from tests.processes.restarts import brought_up
from tests.waiting import eventually


class KafkaCluster:
    """Three nodes, replication 3, at least two in-sync replicas.

    `bootstrap` is for the tests, past every link; `bootstrap_of` for the rooms. Where a method
    takes nodes, none means all of them.

    Args:
        jars: directory of the broker's jars.
        directory: an existing directory, for data, configurations and logs.
        session_ms: for how long the controller does without a broker's heartbeats.
    """

    def __init__(self, jars: Path, directory: Path, session_ms: int = SHORT_SESSION_MS) -> None:
        self.version = version_of(jars)
        self._ports = {number: Ports() for number in NODES}
        self._nodes = {
            number: Node(number, self._ports, jars, directory / f"node-{number}", session_ms)
            for number in NODES
        }
        self.bootstrap = ",".join(node.direct for node in self._nodes.values())
        self.links = Links(self._doors(), directory / "links.log")
        self._linked = False

    def bootstrap_of(self, client: Client) -> str:
        """The brokers' addresses for one kind of client, each behind its link."""
        return ",".join(f"127.0.0.1:{ports.links[client]}" for ports in self._ports.values())

    def _doors(self) -> list[Door]:
        doors = []
        for number, own in self._ports.items():
            for client in CLIENTS:
                name = f"{client} to {number}"
                doors.append(Door(name, "127.0.0.1", own.links[client], own.clients[client]))
            for peer in self._others(number):
                name, host = f"{peer} to {number}", heard_at(peer, number)
                doors += [Door(name, host, at, at) for at in (own.peers, own.controller)]
        return doors

    @staticmethod
    def _others(number: int) -> list[int]:
        return [peer for peer in NODES if peer != number]

    def links_of(self, client: Client, *nodes: int) -> list[str]:
        """The links from one kind of client to nodes."""
        return [f"{client} to {number}" for number in nodes or NODES]

    def links_between(self, number: int, *peers: int) -> list[str]:
        """The links between a node and its peers, both ways."""
        found = []
        for peer in peers or self._others(number):
            found += [f"{number} to {peer}", f"{peer} to {number}"]
        return found

    def start(self, *nodes: int, deadline_seconds: float = 180) -> None:
        """Start the nodes that do not run, and wait until every node that runs knows of them.

        The first time the storage is formatted and the links are opened. A JVM that ends or is
        late is begun again, at most twice.

        Raises:
            ServerError: a node ended, or did not answer in time; with the end of its log.
        """
        wanted = [self._nodes[number] for number in nodes or NODES]
        name = f"Apache Kafka {self.version} on three nodes"
        brought_up(name, lambda: self._start_once(wanted, deadline_seconds))

    def _start_once(self, wanted: Sequence[Node], deadline_seconds: float) -> None:
        if not self._linked:
            self.links.start()
            self._linked = True
        self._format()
        begun = [node for node in wanted if not node.runs]
        for node in begun:
            node.server.kill()
            node.server.start()

        def up() -> bool:
            # One that no controller registers within a minute ends by itself.
            for node in begun:
                node.server.check()
            return self._together()

        try:
            eventually(up, f"{len(begun)} nodes of Kafka", deadline_seconds)
        except (TimeoutError, ServerError) as failed:
            tails = "\n".join(node.server.tail() for node in begun)
            for node in begun:
                node.server.kill()
            raise ServerError(f"{failed}; the logs end:\n{tails}") from failed

    def _together(self) -> bool:
        """Whether all nodes that run know each other."""
        running = [node for node in self._nodes.values() if node.runs]
        return all(node.brokers() >= {other.number for other in running} for node in running)

    def _format(self) -> None:
        """Format one node's storage with the tool; that of the others differs in two lines."""
        first, *others = self._nodes.values()
        if first.data.exists():
            return
        wanted = ",".join(str(node.data) for node in self._nodes.values())
        scratch = first.properties.with_name("format.properties")
        lines = first.properties.read_text().splitlines()
        scratch.write_text(
            "".join(
                f"log.dirs={wanted}\n" if line.startswith("log.dirs=") else f"{line}\n"
                for line in lines
            )
        )
        format_storage(first.java, scratch)
        for node in others:
            properties = node.data / "meta.properties"
            was = properties.read_text()
            properties.write_text(
                was.replace(f"node.id={first.number}\n", f"node.id={node.number}\n")
            )

    def stop(self, number: int) -> None:
        """SIGTERM: one hands its leadership over, which takes the others, and ends."""
        self._nodes[number].server.stop()

    def kill(self, *nodes: int, seconds: float = 20) -> None:
        """SIGKILL: a crash, after every partition of these nodes is `described`."""
        doomed = [self._nodes[number] for number in nodes or NODES]
        eventually(
            lambda: all(described(node.data) for node in doomed if node.runs),
            "the metadata of every partition",
            seconds,
        )
        for node in doomed:
            node.server.kill()

    def restart(self, *nodes: int) -> None:
        """Stop and start again, one after another, each when the cluster is whole."""
        for number in nodes or NODES:
            self.stop(number)
            self.start(number)
            self.wait_until_whole()

    def suspend(self, *nodes: int) -> None:
        """SIGSTOP: brokers that take connections and never answer."""
        for number in nodes or NODES:
            self._nodes[number].server.suspend()

    def resume(self, *nodes: int) -> None:
        """SIGCONT."""
        for number in nodes or NODES:
            self._nodes[number].server.resume()

    def end(self) -> None:
        """End everything, in no order."""
        for node in self._nodes.values():
            node.server.kill()
        self.links.stop()

    def controller(self) -> int:
        """The node that is the active controller, as the nodes' own files have it."""

        def newest() -> int:
            files = [
                node.data / "__cluster_metadata-0" / "quorum-state" for node in self._nodes.values()
            ]
            states = [json.loads(file.read_text()) for file in files if file.exists()]
            # Nobody, -1, while one is elected; the first node is 1.
            _, leader = max((state["leaderEpoch"], state["leaderId"]) for state in states)
            return max(int(leader), 0)

        return eventually(newest, "an active controller")

    @cached_property
    def admin(self) -> AdminClient:
        """A client for the tests, past every link."""
        return admin_of(self.bootstrap)

    def leader(self, topic: str, partition: int = 0) -> int:
        """The node that leads a partition; -1 where there is none or the topic is not known yet."""
        return _leader(self.admin, topic, partition)

    def leader_as_told_by(self, number: int, topic: str) -> int:
        """What one node says of the leader of a topic's first partition, right or wrong; or -1."""

        def told() -> ClusterMetadata | None:
            admin = admin_of(self._nodes[number].direct)
            found = admin.list_topics(topic, timeout=ASK_SECONDS)
            # The client asks any broker of which it has heard; the one that it began with has no
            # number yet.
            return found if found.orig_broker_id in {-1, number} else None

        answer = eventually(told, f"the answer of node {number} itself")
        assert answer is not None
        return _leader_in(answer, topic, 0)

    def wait_until_whole(self, deadline_seconds: float = 60) -> None:
        """Wait until every replica of every partition is in sync."""
        eventually(self._whole, "every replica to be in sync", deadline_seconds)

    def _whole(self) -> bool:
        try:
            topics = self.admin.list_topics(timeout=ASK_SECONDS).topics.values()
        except KafkaException:
            return False
        partitions: Iterable[tuple[int, ...]] = (
            (part.leader, len(part.isrs), len(part.replicas))
            for topic in topics
            for part in topic.partitions.values()
        )
        return all(leader >= 0 and isrs == replicas for leader, isrs, replicas in partitions)


def _leader(admin: AdminClient, topic: str, partition: int) -> int:
    return _leader_in(admin.list_topics(topic, timeout=ASK_SECONDS), topic, partition)


def _leader_in(told: ClusterMetadata, topic: str, partition: int) -> int:
    found = told.topics[topic]
    return int(found.partitions[partition].leader) if partition in found.partitions else -1
