"""The cluster's topics against their declaration: what is missing, what differs, what to do."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._metadata import TopicMetadata
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewPartitions, NewTopic

from operator_cli.broker_settings import Found, in_sync, remarks
from runtime.kafka import ASK_SECONDS, Administrator, reason
from schemas.topics import MIN_IN_SYNC, Topic, Topics

_TIMEOUT_SECONDS: Final = 15.0
_SAFETY: Final = frozenset({"retention.bytes", MIN_IN_SYNC, "unclean.leader.election.enable"})
"""Settings that a managed Kafka may keep for itself. Without them all goes on, less safely."""
_KEPT: Final = frozenset({
    KafkaError.INVALID_CONFIG,
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_REQUEST,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
})  # fmt: skip
"""How it says so."""
_DEFAULT_REPLICAS: Final = "default.replication.factor"


@dataclass(frozen=True, slots=True)
class Difference:
    """What separates one topic of the cluster from its declaration."""

    topic: Topic
    exists: bool
    partitions: int = 0
    config: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Setting: (value in the cluster, value declared)."""

    @property
    def grows(self) -> bool:
        """Whether partitions have to be added; a topic with more than declared is left alone."""
        return self.exists and self.partitions < self.topic.partitions

    @property
    def settled(self) -> bool:
        """Whether there is nothing to do."""
        return self.exists and not self.grows and not self.config


@dataclass(frozen=True, slots=True)
class Refusal:
    """A setting that the cluster does not take, and why in its own words."""

    topic: str
    setting: str
    wanted: str
    why: str


class Cluster:
    """Compares and brings about. Never deletes a topic, never takes partitions away."""

    def __init__(self, config: dict[str, Any], replication_factor: int) -> None:
        self._administrator = Administrator(config)
        self._admin = self._administrator.client
        self._replication_factor = replication_factor

    def differences(self, topics: Topics) -> list[Difference]:
        """Return one entry for each declared topic. Raises `KafkaException`."""
        known = self._administrator.topics(_TIMEOUT_SECONDS)
        found = []
        for topic in topics.all():
            if topic.name not in known:
                found.append(Difference(topic, exists=False))
                continue
            there = known[topic.name]
            changes = _changes(
                self._settings(ConfigResource(ResourceType.TOPIC, topic.name)),
                topic,
                _replicas(there),
            )
            found.append(Difference(topic, True, len(there.partitions), changes))
        return found

    def remarks(self, topics: Topics) -> list[str]:
        """Return what the brokers' own settings void of the declaration, a sentence each.

        Raises `KafkaException` where the cluster does not answer. Brokers that do not tell their
        settings are a remark as well.
        """
        known = self._administrator.topics(_TIMEOUT_SECONDS)
        replicas = {name: _replicas(there) for name, there in known.items()}
        brokers, silent = self._broker_settings()
        names = [topic.name for topic in topics.all()]
        largest = max(topic.max_message_bytes for topic in topics.all())
        return remarks(Found(replicas, brokers), names, largest) + silent

    def _broker_settings(self) -> tuple[dict[int, dict[str, str]], list[str]]:
        """Return the settings of each broker that tells them, and why the others do not."""
        brokers, silent = dict[int, dict[str, str]](), list[str]()
        for number in sorted(self._admin.list_topics(timeout=_TIMEOUT_SECONDS).brokers):
            resource = ConfigResource(ResourceType.BROKER, str(number))
            try:
                brokers[number] = self._settings(resource, ASK_SECONDS)
            except KafkaException as error:
                silent.append(f"broker {number} does not tell its settings: {reason(error)}")
        return brokers, silent

    def _settings(
        self, resource: ConfigResource, timeout_seconds: float = _TIMEOUT_SECONDS
    ) -> dict[str, str]:
        futures = self._admin.describe_configs([resource], request_timeout=timeout_seconds)
        entries = _answer(futures[resource], 2 * timeout_seconds)
        return {name: str(entry.value) for name, entry in entries.items()}

    def apply(self, differences: Sequence[Difference]) -> list[Refusal]:
        """Create what is missing, add partitions, set what differs. Raises `KafkaException`.

        A topic that somebody else created in the meantime is taken as it is. Settings for safety
        that the cluster does not take are returned; where it refuses any other, that is raised
        after everything else has been done.
        """
        refused: list[Refusal] = []
        for difference in differences:
            topic = difference.topic
            if not difference.exists:
                refused += self._create(topic)
            elif difference.grows:
                growing = [NewPartitions(topic.name, topic.partitions)]
                asked = self._admin.create_partitions(growing, operation_timeout=_TIMEOUT_SECONDS)
                _answer(asked[topic.name])
        for difference in differences:
            wanted = {name: value for name, (_, value) in difference.config.items()}
            refused += self._set(difference.topic.name, wanted)
        for refusal in refused:
            if refusal.setting not in _SAFETY:
                raise KafkaException(
                    KafkaError(
                        KafkaError.INVALID_CONFIG,
                        f"{refusal.topic}, {refusal.setting}={refusal.wanted}: {refusal.why}",
                    )
                )
        return refused

    def _create(self, topic: Topic) -> list[Refusal]:
        settings = {name: str(value) for name, value in topic.config.items()}
        if (replicas := self._replicas_to_be()) > 0:
            settings[MIN_IN_SYNC] = str(in_sync(topic.min_insync_replicas, replicas))
        try:
            self._create_with(topic, settings)
        except KafkaException as error:
            if error.args[0].code() not in _KEPT:
                raise
        else:
            return []
        # Perhaps because of one of them; which one shows when each is set by itself.
        safety = {name: value for name, value in settings.items() if name in _SAFETY}
        self._create_with(topic, {n: value for n, value in settings.items() if n not in safety})
        return self._set(topic.name, safety)

    def _create_with(self, topic: Topic, settings: dict[str, str]) -> None:
        new = NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=self._replication_factor,
            config=settings,
        )
        asked = self._admin.create_topics([new], operation_timeout=_TIMEOUT_SECONDS)
        try:
            _answer(asked[topic.name])
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise

    def _replicas_to_be(self) -> int:
        """Return how many replicas a new topic gets; 0 where the brokers do not tell."""
        if self._replication_factor > 0:
            return self._replication_factor
        said = [
            int(settings[_DEFAULT_REPLICAS])
            for settings in self._broker_settings()[0].values()
            if _DEFAULT_REPLICAS in settings
        ]
        return min(said, default=0)

    def _set(self, topic: str, wanted: Mapping[str, str]) -> list[Refusal]:
        """Set all at once, or where that is refused each by itself; return what is not taken."""
        if not wanted:
            return []
        try:
            self._alter(topic, wanted)
        except KafkaException as error:
            if error.args[0].code() not in _KEPT:
                raise
            if len(wanted) == 1:
                return [Refusal(topic, *one, reason(error)) for one in wanted.items()]
        else:
            return []
        return [refusal for one in wanted.items() for refusal in self._set(topic, dict([one]))]

    def _alter(self, topic: str, wanted: Mapping[str, str]) -> None:
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in wanted.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        _answer(self._admin.incremental_alter_configs([resource])[resource])


def _answer(asked: Future[Any], timeout_seconds: float = _TIMEOUT_SECONDS) -> Any:  # noqa: ANN401 - the client's
    try:
        return asked.result(timeout_seconds)
    except TimeoutError as error:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error  # noqa: SLF001


def _replicas(there: TopicMetadata) -> int:
    return min((len(part.replicas) for part in there.partitions.values()), default=0)


def _changes(current: Mapping[str, str], topic: Topic, replicas: int) -> dict[str, tuple[str, str]]:
    """Return what differs, of the settings that the cluster tells."""
    wanted = {name: str(value) for name, value in topic.config.items()}
    found = {
        name: (current[name], value)
        for name, value in wanted.items()
        if name in current and current[name] != value
    }
    if MIN_IN_SYNC in current:
        least, now = in_sync(topic.min_insync_replicas, replicas), int(current[MIN_IN_SYNC])
        # More is safer still, unless nothing could be written at all.
        if now < least or now > max(replicas, least):
            found[MIN_IN_SYNC] = (str(now), str(least))
    return found
