"""The topics, as the cluster tells of them outside of any group."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from confluent_kafka.admin import AdminClient

from consumer.start import Place
from runtime.leader_epochs import leader_epochs
from runtime.topic_ids import topic_ids
from runtime.topic_offsets import topic_offsets
from runtime.topic_range import TopicRange
from schemas.record import Record


class KafkaTopics:
    """Asks the cluster with clients of its own. Any thread may ask; raises `KafkaException`.

    Args:
        config: of the clients.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the id of each topic, "" where the broker will never tell it."""
        return topic_ids(self._config, topics)

    def ends(self, places: Collection[Place]) -> tuple[dict[Place, int], dict[Place, int]]:
        """Return the first offset that Kafka has of each partition, and the one after its last."""
        # Not by the consumer, whose connection may be waiting for new records. A client that knew
        # the partitions before their leader was restarted would go on asking with an old epoch.
        admin = AdminClient(self._config)
        return topic_offsets(admin, places, "first"), topic_offsets(admin, places, "end")

    def epochs(self, offsets: Mapping[Place, int]) -> dict[Place, int]:
        """Return the epoch of the leader that wrote each record; nothing where none stands."""
        return leader_epochs(self._config, offsets)

    def read(
        self, place: Place, first: int, end: int, told: Callable[[], bool]
    ) -> Iterator[list[Record]]:
        """Yield the records of a partition from `first` to before `end`, or until `told`."""
        topic, partition = place
        found = TopicRange(self._config, topic)
        try:
            found.first, found.end = {partition: first}, {partition: end}
            yield from found.unless(told)
        finally:
            found.close()
