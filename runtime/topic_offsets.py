"""From where to where the partitions of topics go, as their brokers say."""

from collections.abc import Collection
from typing import Final, Literal, TypeAlias

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

_TIMEOUT_SECONDS: Final = 10.0

Which: TypeAlias = Literal["first", "end", "visible_end"]
"""The first record that Kafka has; what comes after the last one; after the last one that
`read_committed` readers see, which stand before an open transaction."""


def topic_offsets(
    admin: AdminClient, places: Collection[tuple[str, int]], which: Which
) -> dict[tuple[str, int], int]:
    """Return that offset of each partition, given as topic and number.

    Raises `KafkaException`, also where the client does not answer.
    """
    spec = OffsetSpec.earliest() if which == "first" else OffsetSpec.latest()  # type: ignore[no-untyped-call]
    visible = which == "visible_end"
    asked = admin.list_offsets(
        {TopicPartition(*place): spec for place in places},
        isolation_level=IsolationLevel.READ_COMMITTED
        if visible
        else IsolationLevel.READ_UNCOMMITTED,
        request_timeout=_TIMEOUT_SECONDS,
    )
    try:
        return {
            (part.topic, part.partition): answer.result(2 * _TIMEOUT_SECONDS).offset
            for part, answer in asked.items()
        }
    except TimeoutError as error:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error  # noqa: SLF001 - librdkafka's own name
