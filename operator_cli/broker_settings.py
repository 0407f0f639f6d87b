"""What the brokers' own settings void of the topics' declaration. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

ENOUGH_REPLICAS: Final = 3
_INTERNAL: Final = {
    "__consumer_offsets": "offsets.topic.replication.factor",
    "__transaction_state": "transaction.state.log.replication.factor",
}
"""Kafka's own topics that the books rest on, and the setting that they are made with."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a cluster says of itself.

    `replicas` are those of each topic that is there, `brokers` the settings of each broker that
    tells them, as text.
    """

    replicas: Mapping[str, int]
    brokers: Mapping[int, Mapping[str, str]] = field(default_factory=dict)


def in_sync(declared: int, replicas: int) -> int:
    """Return the `min.insync.replicas` of a topic: one broker may be away, unless there is one."""
    return max(1, min(declared, replicas - 1))


def remarks(found: Found, names: list[str], largest_bytes: int) -> list[str]:
    """Return a sentence for each declared setting that does not hold what it promises there.

    Args:
        found: the cluster.
        names: of the declared topics; those that are not there are passed over.
        largest_bytes: what the largest record batch of them may have.
    """
    told = [
        f"{name} has {count} of {ENOUGH_REPLICAS} replicas: accepted records are lost with "
        f"{'its disk' if count == 1 else 'their disks'}, and min.insync.replicas can be at most "
        f"{in_sync(count, count)}"
        for name in names
        if 0 < (count := found.replicas.get(name, 0)) < ENOUGH_REPLICAS
    ]
    told += [_internal(found, name, setting) for name, setting in _INTERNAL.items()]
    for number, settings in sorted(found.brokers.items()):
        told += [f"broker {number}: {said}" for said in _broker(settings, largest_bytes)]
    return [one for one in told if one]


def _internal(found: Found, name: str, setting: str) -> str:
    said = [int(each[setting]) for each in found.brokers.values() if setting in each]
    count = found.replicas.get(name, min(said, default=ENOUGH_REPLICAS))
    if count >= ENOUGH_REPLICAS:
        return ""
    return (
        f"{name} has {count} of {ENOUGH_REPLICAS} replicas ({setting}): if its disks are lost, so "
        "are group offsets or open transactions, however many replicas our topics have"
    )


def _broker(settings: Mapping[str, str], largest_bytes: int) -> list[str]:
    told = []
    if settings.get("unclean.leader.election.enable") == "true":
        told.append(
            "unclean.leader.election.enable is true: our topics override it, but Kafka's own "
            "topics may lose committed records"
        )
    if int(settings.get("transaction.state.log.min.isr", 2)) < 2:  # noqa: PLR2004 - one may be away
        told.append(
            "transaction.state.log.min.isr is 1: the end of a transaction may be on one disk only"
        )
    if int(settings.get("socket.request.max.bytes", largest_bytes)) < largest_bytes:
        told.append(
            f"socket.request.max.bytes is {settings['socket.request.max.bytes']}: it refuses "
            f"records that max.message.bytes allows, of up to {largest_bytes} bytes"
        )
    return told
