"""Placing: the client reads partitions from given offsets on, and proves them where it can."""

from collections.abc import Sequence

from confluent_kafka import Consumer, TopicPartition

from consumer.truncation import NO_EPOCH, known_epoch


def assign(consumer: Consumer, places: Sequence[TopicPartition]) -> None:
    """Read partitions from these offsets, and have those proven that have an epoch.

    Raises `KafkaException` where the client refuses to; then nothing is known of any.
    """
    consumer.incremental_assign(list(places))
    for part in places:
        if known_epoch(part.leader_epoch) != NO_EPOCH:
            # The client asks up to where the log has this epoch when it seeks, and when the leader
            # changes; not when it begins (librdkafka issue 5158).
            consumer.seek(part)


def read_on(consumer: Consumer, places: Sequence[TopicPartition]) -> None:
    """Read assigned partitions on from these offsets, whatever the client waits for there.

    A seek alone would be refused where the fetcher of a partition never began or has stopped.
    Raises as `assign`.
    """
    if places:
        consumer.incremental_unassign(
            [TopicPartition(part.topic, part.partition) for part in places]
        )
        assign(consumer, places)
