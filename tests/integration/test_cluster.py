"""The topics of a real broker against their declaration: shown, brought about, never taken away."""

import os
import socket
from collections.abc import Mapping

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from operator_cli.cluster import Cluster, Difference
from schemas.topics import Topic, Topics, load_topics
from tests.brokers.made_topics import await_topics
from tests.processes import room
from tests.waiting import NET_SECONDS, Stopwatch, eventually

SECONDS = 20
NAMES = (
    "billing.callbacks.v1",
    "billing.callbacks.v1.dlq",
    "billing.receipts.v1",
    "billing.usage-units.v1",
    "billing.credits.v1",
)


def run(kafka: str, prefix: str, *arguments: str) -> tuple[int, str]:
    """Run `billing topics`; its exit code, and what it said."""
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("BILLING_")},
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "BILLING_TOPIC_PREFIX": prefix,
    }
    done = room.run(environment, "topics", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def partitions(kafka: str, prefix: str) -> dict[str, int]:
    """The partitions of each topic with this prefix, by the rest of its name."""
    known = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=NET_SECONDS).topics
    return {
        name.removeprefix(prefix): len(found.partitions)
        for name, found in known.items()
        if name.startswith(prefix)
    }


def cluster(kafka: str) -> Cluster:
    """The cluster as the command sees it."""
    return Cluster({"bootstrap.servers": kafka}, replication_factor=1)


def as_declared(kafka: str, topics: Topics) -> bool:
    """Whether nothing is left to do."""
    return all(difference.as_declared for difference in cluster(kafka).differences(topics))


def declared(prefix: str, **config: str | int) -> Topics:
    """The declaration, with other settings for the callbacks topic."""
    topics = load_topics(prefix)
    changed = topics.callbacks.model_copy(update={"config": {**topics.callbacks.config, **config}})
    return topics.model_copy(update={"callbacks": changed})


def with_partitions(topic: Topic, count: int) -> Topic:
    """The same topic with another number of partitions."""
    return topic.model_copy(update={"partitions": count})


def test_a_dry_run_shows_and_creates_nothing(kafka: str, topic_prefix: str) -> None:
    code, said = run(kafka, topic_prefix)
    assert code == 0
    assert "dry run: add --apply" in said
    assert said.count("create") == len(NAMES)
    assert all(topic_prefix + name in said for name in NAMES)
    assert partitions(kafka, topic_prefix) == {}


def test_apply_creates_what_is_declared_and_again_does_nothing(
    kafka: str, topic_prefix: str
) -> None:
    code, said = run(kafka, topic_prefix, "--apply")
    assert (code, "applied" in said) == (0, True)
    topics = load_topics(topic_prefix)
    wanted = {name: topic.partitions for name, topic in zip(NAMES, topics.all(), strict=True)}
    eventually(lambda: partitions(kafka, topic_prefix) == wanted, "the topics")
    for difference in cluster(kafka).differences(topics):
        assert difference == Difference(difference.topic, True, difference.topic.partitions, {})
    code, said = run(kafka, topic_prefix, "--apply")
    assert (code, "nothing to do" in said) == (0, True)


def test_who_comes_second_finds_it_done(kafka: str, topic_prefix: str) -> None:
    """Two jobs that looked at the same moment both succeed."""
    topics = load_topics(topic_prefix)
    first, second = cluster(kafka), cluster(kafka)
    seen = [first.differences(topics), second.differences(topics)]
    first.apply(seen[0])
    second.apply(seen[1])
    eventually(lambda: as_declared(kafka, topics), "the topics")


def test_partitions_grow_and_never_shrink(kafka: str, topic_prefix: str) -> None:
    topics = load_topics(topic_prefix)
    admin = AdminClient({"bootstrap.servers": kafka})
    made = [
        NewTopic(topics.callbacks.name, 2, 1),
        NewTopic(topics.receipts.name, topics.receipts.partitions + 3, 1),
    ]
    for future in admin.create_topics(made, operation_timeout=SECONDS).values():
        future.result(NET_SECONDS)
    await_topics(kafka, [(one.topic, one.num_partitions) for one in made])
    code, said = run(kafka, topic_prefix)
    assert code == 0
    assert f"2 of {topics.callbacks.partitions}" in said
    assert said.count("grow") == 1
    code, _ = run(kafka, topic_prefix, "--apply")
    assert code == 0
    eventually(lambda: as_declared(kafka, topics), "the topics")
    found = partitions(kafka, topic_prefix)
    assert found["billing.callbacks.v1"] == topics.callbacks.partitions
    assert found["billing.receipts.v1"] == topics.receipts.partitions + 3


def test_a_setting_that_differs_is_shown_and_set_and_others_stay(
    kafka: str, topic_prefix: str
) -> None:
    ours = cluster(kafka)
    ours.apply(ours.differences(load_topics(topic_prefix)))
    topics = declared(topic_prefix, **{"retention.ms": 60_000})
    eventually(lambda: len(partitions(kafka, topic_prefix)) == len(NAMES), "the topics")
    [changed] = [found for found in ours.differences(topics) if not found.as_declared]
    assert changed.config == {"retention.ms": ("1209600000", "60000")}
    assert (changed.exists, changed.grows) == (True, False)
    ours.apply([changed])
    eventually(lambda: as_declared(kafka, topics), "the setting")
    [other] = [
        found for found in ours.differences(load_topics(topic_prefix)) if not found.as_declared
    ]
    assert other.config == {"retention.ms": ("60000", "1209600000")}


def test_what_the_broker_refuses_is_told(kafka: str, topic_prefix: str) -> None:
    code, said = run(kafka, topic_prefix, "--apply", "--replication-factor", "9")
    assert code == 1
    assert "eplication factor" in said
    ours = cluster(kafka)
    wrong = declared(topic_prefix, **{"cleanup.policy": "no such policy"})
    with pytest.raises(KafkaException, match=r"cleanup\.policy"):
        ours.apply(ours.differences(wrong))


def test_what_would_lose_accepted_callbacks_is_shown_and_put_right(
    kafka: str, topic_prefix: str
) -> None:
    topics, admin = load_topics(topic_prefix), AdminClient({"bootstrap.servers": kafka})
    careless = {
        "retention.bytes": "1000000",
        "unclean.leader.election.enable": "true",
        "min.insync.replicas": "2",
    }
    name = topics.callbacks.name
    admin.create_topics([NewTopic(name, 12, 1, config=careless)])[name].result(NET_SECONDS)
    await_topics(kafka, [(name, 12)])
    code, said = run(kafka, topic_prefix)
    assert code == 0
    for setting, value in careless.items():
        assert f"{setting}: {value} →" in said
    # With one replica, no more than one can be in sync: nothing could be written.
    code, said = run(kafka, topic_prefix, "--apply")
    assert (code, "not taken" in said) == (0, False)
    assert f"note: {name} has 1 of 3 replicas" in " ".join(said.split())
    eventually(lambda: as_declared(kafka, topics), "the settings")


class Managed(Cluster):
    """A cluster whose owner keeps a setting for itself, as those of others do."""

    kept = "unclean.leader.election.enable"

    def _refuse(self, settings: Mapping[str, str]) -> None:
        if self.kept in settings:
            raise KafkaException(KafkaError(KafkaError.POLICY_VIOLATION, "not yours to set"))

    def _create_with(self, topic: Topic, settings: dict[str, str]) -> None:
        self._refuse(settings)
        super()._create_with(topic, settings)

    def _alter(self, topic: str, wanted: Mapping[str, str]) -> None:
        self._refuse(wanted)
        super()._alter(topic, wanted)


def test_a_cluster_that_keeps_a_setting_for_itself_gets_all_others(
    kafka: str, topic_prefix: str
) -> None:
    topics, managed = load_topics(topic_prefix), Managed({"bootstrap.servers": kafka}, 1)
    refused = managed.apply(managed.differences(topics))
    assert {(one.setting, one.wanted, one.why) for one in refused} == {
        (Managed.kept, "false", "not yours to set")
    }
    assert [one.topic for one in refused] == [topic.name for topic in topics.all()]
    # What the broker has by default is what is declared.
    eventually(lambda: as_declared(kafka, topics), "the topics")


def test_a_broker_that_is_away_is_told_in_time(topic_prefix: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        watch = Stopwatch()
        code, said = run(address, topic_prefix)
        assert watch.seconds() < 45
        assert code == 1
        assert f"Kafka at {address}" in said
        assert "Connection refused" in said
        assert "Check the KAFKA_* variables" in said
        assert said.count("FAIL") == 0, "the client's own lines are no message"
