"""Topics that were just made: a broker tells clients of them a while after it has said so."""

from collections.abc import Collection

from confluent_kafka.admin import AdminClient

from tests.waiting import NET_SECONDS, eventually


def await_topics(bootstrap: str, partitions: Collection[tuple[str, int]]) -> None:
    """Return when a broker knows topics and who leads each of their partitions.

    Until then it answers a client that it has no such topic: a producer gives up after a while,
    and who looks at the cluster does not see it.

    Args:
        bootstrap: the broker.
        partitions: the name of each topic and how many partitions it has.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def known() -> bool:
        topics = admin.list_topics(timeout=NET_SECONDS).topics
        return all(
            name in topics
            and len(topics[name].partitions) == count
            and all(partition.leader >= 0 for partition in topics[name].partitions.values())
            for name, count in partitions
        )

    eventually(known, f"the broker to know {', '.join(name for name, _ in partitions)}")
