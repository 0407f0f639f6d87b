"""Moves leaders between brokers: another order of a partition's replicas, and an election.

Written against Kafka's protocol, AlterPartitionReassignments version 0, which the client library
does not have.
"""

import socket
import struct
from collections.abc import Mapping, Sequence, Sized
from typing import Final

from confluent_kafka import ElectionType, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.waiting import NET_SECONDS

_REQUEST: Final = struct.pack(">hhi", 45, 0, 1)
_CLIENT: Final = b"tests"
_NO_TAGS: Final = b"\x00"
_TIMEOUT_MS: Final = 30_000
Orders = Mapping[str, Mapping[int, Sequence[int]]]
"""The replicas of each partition of each topic, the preferred leader first."""


def turned(admin: AdminClient, topics: Sequence[str], by: int = 1) -> Orders:
    """The replicas of some topics, each partition's order moved on by some places."""
    known = admin.list_topics(timeout=NET_SECONDS).topics
    return {
        topic: {
            number: [*part.replicas[by:], *part.replicas[:by]]
            for number, part in known[topic].partitions.items()
        }
        for topic in topics
    }


def prefer(broker: str, orders: Orders) -> None:
    """Give partitions their replicas in another order; nothing is copied, no leader changes yet.

    Args:
        broker: the address of any broker.
        orders: which have the same replicas as before.

    Raises:
        AssertionError: the cluster refused, with Kafka's error code.
    """
    body = struct.pack(">i", _TIMEOUT_MS) + _count(orders)
    for topic, partitions in orders.items():
        body += _text(topic) + _count(partitions)
        for number, replicas in partitions.items():
            body += struct.pack(">i", number) + _count(replicas)
            body += struct.pack(f">{len(replicas)}i", *replicas) + _NO_TAGS
        body += _NO_TAGS
    head = _REQUEST + struct.pack(">h", len(_CLIENT)) + _CLIENT + _NO_TAGS
    request = head + body + _NO_TAGS
    host, _, port = broker.rpartition(":")
    with socket.create_connection((host, int(port)), NET_SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
        answer = connection.recv(size, socket.MSG_WAITALL)
    # Correlation, tags, throttle time, then the error code of the whole.
    (code,) = struct.unpack_from(">h", answer, 4 + 1 + 4)
    assert code == 0, f"the reassignment was refused with code {code}"


def elect_preferred(admin: AdminClient, orders: Orders) -> None:
    """Make each partition's first replica its leader, where that is in sync."""
    wanted = [
        TopicPartition(topic, number)
        for topic, partitions in orders.items()
        for number in partitions
    ]
    admin.elect_leaders(ElectionType.PREFERRED, wanted).result(NET_SECONDS)


def _count(things: Sized) -> bytes:
    return _varint(len(things) + 1)


def _text(text: str) -> bytes:
    return _varint(len(text.encode()) + 1) + text.encode()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
