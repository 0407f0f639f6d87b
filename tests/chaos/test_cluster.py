"""What the faults hurt: three brokers with three replicas, and a network that can be parted."""

import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from tests.brokers.broker import missing_for_apache
from tests.brokers.kafka_cluster import KafkaCluster
from tests.brokers.kafka_node import LEAST_IN_SYNC, NODES, Client
from tests.brokers.leaders import elect_preferred, prefer, turned
from tests.chaos.fleet import Fleet
from tests.waiting import NET_SECONDS, eventually

pytestmark = pytest.mark.skipif(bool(missing_for_apache()), reason=str(missing_for_apache()))

GIVE_UP_SECONDS = 1.5
# A new leader acknowledges only once it has given up on the replica that is cut off.
SERVED_SECONDS = 60.0
MOVED_SECONDS = 60


@pytest.fixture
def kafka(fleet: Fleet) -> Iterator[KafkaCluster]:
    """The fleet's, with every replica in sync and every link open."""
    fleet.kafka.links.open()
    fleet.kafka.wait_until_whole()
    yield fleet.kafka
    fleet.kafka.links.open()


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    """A topic of one partition."""
    name = f"parted-{uuid.uuid4().hex}"
    created = kafka.admin.create_topics([NewTopic(name, 1)])
    created[name].result(NET_SECONDS)
    eventually(
        lambda: all(kafka.leader_as_told_by(node, name) > 0 for node in NODES),
        "the topic to be known everywhere",
    )
    return name


def produced(
    kafka: KafkaCluster, client: Client, topic: str, *nodes: int, seconds: float = SERVED_SECONDS
) -> str:
    """What becomes of a record that one kind of client sends, by way of some nodes; "" if good."""
    found: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        found.append(error.name() if error else "")

    addresses = kafka.bootstrap_of(client).split(",")
    producer = Producer({
        "bootstrap.servers": ",".join(addresses[node - 1] for node in nodes or NODES),
        "acks": "all",
        "delivery.timeout.ms": int(seconds * 1_000),
        "linger.ms": 0,
        "log_level": 0,
    })  # fmt: skip
    producer.produce(topic, b"a record", on_delivery=delivered)

    def reported() -> bool:
        producer.poll(0.05)
        return bool(found)

    eventually(reported, "a delivery report", seconds + NET_SECONDS)
    return found[0]


def test_every_topic_has_three_replicas_and_needs_two(fleet: Fleet, kafka: KafkaCluster) -> None:
    admin = kafka.admin
    known = admin.list_topics(timeout=NET_SECONDS).topics
    declared = [topic.name for topic in fleet.topics.all()]
    assert set(declared) | {"__consumer_offsets", "__transaction_state"} <= set(known)
    replicas = {len(p.replicas) for topic in known.values() for p in topic.partitions.values()}
    assert replicas == {len(NODES)}
    for name in [*declared, "__transaction_state"]:
        resource = ConfigResource(ResourceType.TOPIC, name)
        settings = admin.describe_configs([resource])[resource].result(NET_SECONDS)
        assert settings["min.insync.replicas"].value == str(LEAST_IN_SYNC), name


def cut_off(kafka: KafkaCluster, topic: str) -> int:
    """Cut the topic's leader off from its peers until they have another one.

    Returns 0 where it has heard of the other one: on a busy machine it may be replaced just before.
    """
    alone = kafka.leader(topic)
    if alone < 0:
        return 0
    kafka.links.silence(kafka.links_between(alone))

    def moved() -> bool:
        told = {kafka.leader_as_told_by(node, topic) for node in NODES if node != alone}
        return len(told) == 1 and told.isdisjoint({alone, -1})

    eventually(moved, "another leader", MOVED_SECONDS)
    if kafka.leader_as_told_by(alone, topic) == alone:
        return alone
    kafka.links.open()
    kafka.wait_until_whole()
    return 0


def test_a_leader_without_its_peers_is_replaced_and_acknowledges_nothing(
    kafka: KafkaCluster, topic: str
) -> None:
    assert produced(kafka, "gateway", topic) == ""
    alone = eventually(lambda: cut_off(kafka, topic), "a leader that is cut off", MOVED_SECONDS)
    # Its own clients still reach it, and it still takes itself for the leader.
    kafka.links.cut(kafka.links_of("consumers", *(node for node in NODES if node != alone)))
    assert kafka.leader_as_told_by(alone, topic) == alone
    unserved = produced(kafka, "consumers", topic, alone, seconds=GIVE_UP_SECONDS)
    assert unserved == "_MSG_TIMED_OUT"
    # Whoever reaches the others is served.
    kafka.links.cut(kafka.links_of("gateway", alone))
    assert produced(kafka, "gateway", topic) == ""
    kafka.links.open()
    kafka.wait_until_whole()

    def agreed() -> bool:
        return len({kafka.leader_as_told_by(node, topic) for node in NODES}) == 1

    # Whoever it is by now: on a busy machine it may be the first one again.
    eventually(agreed, "all nodes to tell of the same leader")
    assert produced(kafka, "consumers", topic) == ""


def test_one_kind_of_client_loses_the_brokers_and_the_other_does_not(
    kafka: KafkaCluster, topic: str
) -> None:
    kafka.links.cut(kafka.links_of("gateway"))
    assert produced(kafka, "gateway", topic, seconds=GIVE_UP_SECONDS) == "_MSG_TIMED_OUT"
    assert produced(kafka, "consumers", topic) == ""
    kafka.links.open()
    assert produced(kafka, "gateway", topic) == ""


def test_leaders_move_when_they_are_told_to(kafka: KafkaCluster, topic: str) -> None:
    for _ in NODES:
        orders = turned(kafka.admin, [topic])
        prefer(kafka.bootstrap.partition(",")[0], orders)
        elect_preferred(kafka.admin, orders)
        wanted = orders[topic][0][0]
        eventually(lambda: kafka.leader(topic) == wanted, "the preferred leader")  # noqa: B023 - called at once
