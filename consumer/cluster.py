"""The cluster's topics against their declaration: what is missing, what differs, what to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._metadata import TopicMetadata
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewPartitions, NewTopic

from schemas.topics import Topic, Topics

_TIMEOUT_SECONDS: Final = 15.0
_ASK_SECONDS: Final = 3.0


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


class Cluster:
    """Compares and brings about. Never deletes a topic, never takes partitions away."""

    def __init__(self, config: dict[str, Any], replication_factor: int) -> None:
        self._said = ""
        self._admin = AdminClient(config | {"error_cb": self._note})
        self._replication_factor = replication_factor

    def differences(self, topics: Topics) -> list[Difference]:
        """Return one entry for each declared topic. Raises `KafkaException`."""
        known = self._topics(_TIMEOUT_SECONDS)
        found = []
        for topic in topics.all():
            if topic.name not in known:
                found.append(Difference(topic, exists=False))
                continue
            partitions = len(known[topic.name].partitions)
            found.append(Difference(topic, True, partitions, self._config_difference(topic)))
        return found

    def ask(self) -> None:
        """Ask whether the cluster answers. Raises `KafkaException` that says why it does not."""
        self._topics(_ASK_SECONDS)

    def _topics(self, timeout_seconds: float) -> dict[str, TopicMetadata]:
        try:
            return self._admin.list_topics(timeout=timeout_seconds).topics
        except KafkaException as error:
            self._admin.poll(0)
            if not self._said:
                raise
            # A refused login or certificate is no answer for the client, which goes on trying.
            cause = error.args[0]
            raise KafkaException(
                KafkaError(cause.code(), f"{cause.str()}: {self._said}")
            ) from error

    def _note(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - librdkafka's own name
            self._said = error.str()

    def _config_difference(self, topic: Topic) -> dict[str, tuple[str, str]]:
        resource = ConfigResource(ResourceType.TOPIC, topic.name)
        futures = self._admin.describe_configs([resource], request_timeout=_TIMEOUT_SECONDS)
        entries = futures[resource].result()
        current = {name: str(entry.value) for name, entry in entries.items()}
        return {
            name: (current[name], str(wanted))
            for name, wanted in topic.config.items()
            if name in current and current[name] != str(wanted)
        }

    def apply(self, differences: Sequence[Difference]) -> None:
        """Create what is missing, add partitions, set what differs. Raises `KafkaException`.

        A topic that somebody else created in the meantime is taken as it is.
        """
        missing = [_new(d.topic, self._replication_factor) for d in differences if not d.exists]
        growing = [NewPartitions(d.topic.name, d.topic.partitions) for d in differences if d.grows]
        changed = [_changed(d) for d in differences if d.config]
        futures: list[Any] = []
        if missing:
            futures += self._admin.create_topics(
                missing, operation_timeout=_TIMEOUT_SECONDS
            ).values()
        if growing:
            futures += self._admin.create_partitions(
                growing, operation_timeout=_TIMEOUT_SECONDS
            ).values()
        if changed:
            futures += self._admin.incremental_alter_configs(changed).values()
        for future in futures:
            try:
                future.result(_TIMEOUT_SECONDS)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise


def _new(topic: Topic, replication_factor: int) -> NewTopic:
    config = {name: str(value) for name, value in topic.config.items()}
    return NewTopic(
        topic.name,
        num_partitions=topic.partitions,
        replication_factor=replication_factor,
        config=config,
    )


def _changed(difference: Difference) -> ConfigResource:
    entries = [
        ConfigEntry(name, wanted, incremental_operation=AlterConfigOpType.SET)
        for name, (_, wanted) in difference.config.items()
    ]
    return ConfigResource(ResourceType.TOPIC, difference.topic.name, incremental_configs=entries)


def reason(error: KafkaException) -> str:
    """Return what Kafka said, as a sentence for an operator."""
    return str(error.args[0].str())
