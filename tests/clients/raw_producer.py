"""Produces records as bytes: whatever the protocol allows, which no client library lets out.

Keys, values and headers may be null, repeated or empty, names need not be UTF-8, times are any
number, a batch may be compressed to nearly nothing. Written against Kafka's protocol: Produce
version 7, record batches of magic 2.
"""

import gzip
import itertools
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from confluent_kafka.admin import AdminClient

from tests.waiting import eventually

RawHeaders = Sequence[tuple[bytes, bytes | None]]

_SECONDS: Final = 300.0
_PRODUCE: Final = struct.pack(">hh", 0, 7)
_CLIENT: Final = b"raw"
_ALL_REPLICAS: Final = -1
_NO_ERROR: Final = "0"
_LEADER_NOT_AVAILABLE: Final = "5"
_REFUSES_THE_TIME: Final = "32"
_NOT_YET: Final = ("3", _LEADER_NOT_AVAILABLE, "6", _REFUSES_THE_TIME)
"""What a topic answers that is new, or whose settings have just been changed.

The controller says that it is done before each broker goes by it.
"""
_correlation = itertools.count(1)


@dataclass(frozen=True)
class RawRecord:
    """One record. `None` is null; a time is in milliseconds and may be any signed 64-bit number."""

    key: bytes | None
    value: bytes | None
    headers: RawHeaders = ()
    timestamp_ms: int = field(default=1_795_312_950_000)


class RawProducer:
    """Sends batches to the leaders of a cluster without TLS or SASL."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._connections: dict[tuple[str, int], socket.socket] = {}

    def close(self) -> None:
        """Close every connection."""
        for connection in self._connections.values():
            connection.close()

    def send(
        self,
        topic: str,
        batches: Mapping[int, Sequence[RawRecord]],
        *,
        compressed: bool = False,
    ) -> None:
        """Send one batch to each partition; returns when all replicas have them.

        Args:
            topic: its full name.
            batches: records by partition.
            compressed: by gzip; the broker bounds what comes out of it.

        Raises:
            AssertionError: the broker refused a batch; the text has Kafka's error code.
            TimeoutError: it is still refused for a reason that passes.
        """
        for partition, records in batches.items():
            batch = _batch(records, compressed=compressed)
            taken = partial(self._taken, topic, partition, batch)
            eventually(taken, f"{topic}/{partition} to take a batch")

    def _leader(self, topic: str, partition: int) -> tuple[str, int] | None:
        """The address of the leader; None where a topic that is new is not known everywhere yet."""
        metadata = self._admin.list_topics(topic, timeout=_SECONDS)
        found = metadata.topics[topic].partitions.get(partition)
        leader = metadata.brokers.get(found.leader) if found else None
        return (str(leader.host), int(leader.port)) if leader else None

    def _taken(self, topic: str, partition: int, batch: bytes) -> bool:
        """Whether the broker has the batch now."""
        code = self._produce(topic, partition, batch)
        assert code == _NO_ERROR or code in _NOT_YET, (
            f"Kafka refused {topic}/{partition} with code {code}"
        )
        return code == _NO_ERROR

    def _produce(self, topic: str, partition: int, batch: bytes) -> str:
        leader = self._leader(topic, partition)
        if leader is None:
            return _LEADER_NOT_AVAILABLE
        body = struct.pack(">hhii", -1, _ALL_REPLICAS, int(_SECONDS * 1_000), 1) + _text(topic)
        body += struct.pack(">ii", 1, partition) + struct.pack(">i", len(batch)) + batch
        request = _PRODUCE + struct.pack(">i", next(_correlation)) + _text(_CLIENT.decode()) + body
        if leader not in self._connections:
            self._connections[leader] = socket.create_connection(leader, _SECONDS)
        connection = self._connections[leader]
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _exactly(connection, 4))
        answer = _exactly(connection, size)
        # Correlation, number of topics, the name, number of partitions, the partition.
        at = 4 + 4 + 2 + len(topic.encode()) + 4 + 4
        (code,) = struct.unpack_from(">h", answer, at)
        return str(code)


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        data = connection.recv(size - len(received))
        assert data, "the broker closed the connection"
        received += data
    return received


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def _batch(records: Sequence[RawRecord], *, compressed: bool) -> bytes:
    """Return a batch of no producer and no transaction."""
    base, latest = records[0].timestamp_ms, max(one.timestamp_ms for one in records)
    content = b"".join(_record(ordinal, base, one) for ordinal, one in enumerate(records))
    content = gzip.compress(content, 6) if compressed else content
    counted = struct.pack(
        ">hiqqqhii", compressed, len(records) - 1, base, latest, -1, -1, -1, len(records)
    )
    checked = counted + content
    # Leader epoch and magic stand before the checksum, which covers what is behind it.
    framed = struct.pack(">ibI", -1, 2, _crc32c(checked)) + checked
    return struct.pack(">qi", 0, len(framed)) + framed


def _record(ordinal: int, base: int, record: RawRecord) -> bytes:
    headers = b"".join(_sized(name) + _sized(value) for name, value in record.headers)
    body = b"\x00" + _varint(record.timestamp_ms - base) + _varint(ordinal)
    body += _sized(record.key) + _sized(record.value) + _varint(len(record.headers)) + headers
    return _varint(len(body)) + body


def _sized(data: bytes | None) -> bytes:
    return _varint(-1) if data is None else _varint(len(data)) + data


def _varint(number: int) -> bytes:
    """Return `number` in zigzag form, seven bits a byte, the lowest first."""
    left = ((number << 1) ^ (number >> 63)) & 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def _table() -> list[int]:
    found = []
    for byte in range(256):
        left = byte
        for _ in range(8):
            left = left >> 1 ^ (0x82F6_3B78 if left & 1 else 0)
        found.append(left)
    return found


_CRC: Final = _table()


def _crc32c(data: bytes) -> int:
    crc = 0xFFFF_FFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF_FFFF
