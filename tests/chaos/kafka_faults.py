"""Faults of Kafka's brokers and of the network between them and their clients, by name.

Each begins on a cluster whose replicas are all in sync, injects itself, holds, and is mended before
it returns; whether the replicas are in sync again by then is not waited for.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.brokers.apache_kafka import SHORT_SESSION_MS
from tests.brokers.kafka_node import NODES, Client
from tests.brokers.leaders import elect_preferred, prefer, turned
from tests.chaos.fleet import SESSION_TIMEOUT_MS, Fleet
from tests.waiting import eventually

PULSES = 10
OFFSETS = "__consumer_offsets"
SESSION_SECONDS = SHORT_SESSION_MS / 1_000
"""After so long the controller takes a silent broker for dead, and moves its leaders."""
GROUP_SECONDS = SESSION_TIMEOUT_MS / 1_000
"""After so long the group takes a silent member for dead."""


def _nodes(chance: random.Random, count: int) -> list[int]:
    return chance.sample(NODES, count)


def _kill(fleet: Fleet, chance: random.Random, nodes: Sequence[int]) -> None:
    fleet.kafka.wait_until_whole()
    time.sleep(chance.uniform(0, 0.3))
    fleet.kafka.kill(*nodes)
    time.sleep(chance.uniform(0, SESSION_SECONDS + 2))
    fleet.kafka.start(*nodes)


def kill_one(fleet: Fleet, chance: random.Random) -> None:
    """SIGKILL one, start it again: after a moment or after its leaders have moved."""
    _kill(fleet, chance, _nodes(chance, 1))


def kill_two(fleet: Fleet, chance: random.Random) -> None:
    """SIGKILL two at once: no partition takes a record and no controller is left."""
    _kill(fleet, chance, _nodes(chance, 2))


def kill_all(fleet: Fleet, chance: random.Random) -> None:
    """SIGKILL all three at once."""
    _kill(fleet, chance, NODES)


def kill_controller(fleet: Fleet, chance: random.Random) -> None:
    """SIGKILL the node that is the active controller."""
    _kill(fleet, chance, [fleet.kafka.controller()])


@contextmanager
def _frozen(fleet: Fleet, nodes: Sequence[int]) -> Iterator[None]:
    fleet.kafka.suspend(*nodes)
    try:
        yield
    finally:
        fleet.kafka.resume(*nodes)


def _freeze(fleet: Fleet, chance: random.Random, count: int) -> None:
    fleet.kafka.wait_until_whole()
    with _frozen(fleet, _nodes(chance, count)):
        time.sleep(SESSION_SECONDS + chance.uniform(0.5, 3))


def freeze_one(fleet: Fleet, chance: random.Random) -> None:
    """One takes connections and does not answer, until others lead in its place; then it wakes."""
    _freeze(fleet, chance, 1)


def freeze_two(fleet: Fleet, chance: random.Random) -> None:
    """The same of two: the third one has neither a quorum nor enough replicas."""
    _freeze(fleet, chance, 2)


def slow_one(fleet: Fleet, chance: random.Random) -> None:
    """One answers in fits and starts."""
    fleet.kafka.wait_until_whole()
    nodes = _nodes(chance, 1)
    for _ in range(PULSES):
        with _frozen(fleet, nodes):
            time.sleep(chance.uniform(0.05, 0.25))
        time.sleep(chance.uniform(0.02, 0.1))


def restart_in_turn(fleet: Fleet, chance: random.Random) -> None:
    """Stop and start each in order, as an upgrade does."""
    fleet.kafka.wait_until_whole()
    fleet.kafka.restart(*_nodes(chance, len(NODES)))


def move_leaders(fleet: Fleet, chance: random.Random) -> None:
    """Every partition gets another leader, also of the group's and the transactions' topics."""
    fleet.kafka.wait_until_whole()
    admin = fleet.kafka.admin
    for _ in range(chance.randint(1, 3)):
        orders = turned(admin, list(admin.list_topics(timeout=60).topics), chance.randint(1, 2))
        prefer(fleet.kafka.bootstrap.split(",")[0], orders)
        elect_preferred(admin, orders)
        time.sleep(chance.uniform(0, 1))


@contextmanager
def _hurt(fleet: Fleet, chance: random.Random, links: Sequence[str]) -> Iterator[None]:
    """Links that are cut with a reset or that fall silent, until the end of the block."""
    hurt: Callable[[Sequence[str]], None] = chance.choice(
        [fleet.kafka.links.cut, fleet.kafka.links.silence]
    )
    fleet.kafka.wait_until_whole()
    hurt(links)
    try:
        yield
    finally:
        fleet.kafka.links.open(links)


def cut_from_peers(fleet: Fleet, chance: random.Random) -> None:
    """A leader loses its peers and keeps its clients: others lead, and it does not know."""
    callbacks = fleet.topics.callbacks
    partition = chance.randrange(callbacks.partitions)
    # Nobody leads for a moment where the fault before has just been mended.
    node = eventually(lambda: max(fleet.kafka.leader(callbacks.name, partition), 0), "a leader")
    with _hurt(fleet, chance, fleet.kafka.links_between(node)):
        time.sleep(SESSION_SECONDS + chance.uniform(0.5, 3))


def cut_pair(fleet: Fleet, chance: random.Random) -> None:
    """Two brokers do not reach each other; the third reaches both."""
    one, other = _nodes(chance, 2)
    with _hurt(fleet, chance, fleet.kafka.links_between(one, other)):
        time.sleep(SESSION_SECONDS + chance.uniform(0.5, 3))


def cut_from_everybody(fleet: Fleet, chance: random.Random) -> None:
    """A broker loses its peers and its clients."""
    (node,) = _nodes(chance, 1)
    kafka = fleet.kafka
    links = kafka.links_between(node) + kafka.links_of("gateway", node)
    with _hurt(fleet, chance, links + kafka.links_of("consumers", node)):
        time.sleep(SESSION_SECONDS + chance.uniform(0.5, 3))


def _cut_clients(client: Client, count: int) -> Callable[[Fleet, random.Random], None]:
    def cut(fleet: Fleet, chance: random.Random) -> None:
        """Clients of one kind lose brokers that go on without them."""
        links = fleet.kafka.links_of(client, *_nodes(chance, count))
        with _hurt(fleet, chance, links):
            time.sleep(GROUP_SECONDS + chance.uniform(0.5, 3))

    return cut


def _coordinator(fleet: Fleet) -> int:
    """The broker that leads the group's partition of the offsets; 0 while nobody does.

    Not asked of the client: its `describe_consumer_groups` ends the process where the coordinator
    goes away (librdkafka issue 4605).
    """
    partitions = len(fleet.kafka.admin.list_topics(OFFSETS, timeout=60).topics[OFFSETS].partitions)
    hashed = 0
    for letter in fleet.environment["CONSUMER_GROUP"]:
        hashed = (31 * hashed + ord(letter)) & 0xFFFFFFFF
    # The absolute value of Java's hash, and 0 for the one that has none.
    positive = min(hashed, 2**32 - hashed) % 2**31
    return max(fleet.kafka.leader(OFFSETS, positive % partitions), 0)


def cut_from_coordinator(fleet: Fleet, chance: random.Random) -> None:
    """The members lose the broker that coordinates their group, which goes on."""
    coordinator = eventually(lambda: _coordinator(fleet), "a coordinator of the group")
    with _hurt(fleet, chance, fleet.kafka.links_of("consumers", coordinator)):
        time.sleep(GROUP_SECONDS + chance.uniform(0.5, 3))


def slow_network(fleet: Fleet, chance: random.Random) -> None:
    """Whatever is sent to any broker arrives later, and so does the answer."""
    fleet.kafka.wait_until_whole()
    links = fleet.kafka.links
    links.slow(links.names, chance.uniform(0.02, 0.2))
    try:
        time.sleep(chance.uniform(2, 4))
    finally:
        links.open()


KAFKA_FAULTS: Mapping[str, Callable[[Fleet, random.Random], None]] = {
    "broker killed and restarted": kill_one,
    "two brokers killed": kill_two,
    "all brokers killed": kill_all,
    "controller killed": kill_controller,
    "broker frozen": freeze_one,
    "two brokers frozen": freeze_two,
    "broker slow": slow_one,
    "brokers restarted in turn": restart_in_turn,
    "leaders moved": move_leaders,
    "broker cut off from its peers": cut_from_peers,
    "two brokers cut off from each other": cut_pair,
    "broker cut off from everybody": cut_from_everybody,
    "gateway cut off from a broker": _cut_clients("gateway", 1),
    "gateway cut off from all brokers": _cut_clients("gateway", len(NODES)),
    "consumers cut off from a broker": _cut_clients("consumers", 1),
    "consumers cut off from all brokers": _cut_clients("consumers", len(NODES)),
    "consumers cut off from their coordinator": cut_from_coordinator,
    "slow network": slow_network,
}
