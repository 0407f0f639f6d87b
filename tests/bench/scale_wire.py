"""Bytes on the wire, as the kernel counts them for each connection (Linux, TCP over IPv4).

The kernel is asked as `ss --info` asks it: sock_diag(7), whose answer for a connection holds
tcp_info with the bytes that the other side has acknowledged and those that it has sent.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psutil

_SOCK_DIAG: Final = 4
_BY_FAMILY: Final = 20
_REQUEST_AND_DUMP: Final = 0x301
_WITH_TCP_INFO: Final = 1 << 1
_ESTABLISHED: Final = 1 << 1
_TCP_INFO: Final = 2
_HEADER: Final = struct.Struct("=IHHII")
_ASKED: Final = struct.Struct("=BBBBI48x")
_PORTS: Final = struct.Struct("!4xHH")
_CONNECTION_BYTES: Final = 72
_ATTRIBUTE: Final = struct.Struct("=HH")
_ACKED_AND_RECEIVED: Final = struct.Struct("=120xQQ")
_ENDS: Final = frozenset({2, 3})
_BUFFER: Final = 1 << 20


class WireError(RuntimeError):
    """The kernel does not say how many bytes went over its connections."""


@dataclass(frozen=True)
class Wire:
    """Bytes of TCP payload since the connections were made."""

    sent: int
    received: int


def wire(process: psutil.Process, port: int) -> Wire:
    """What a process and its children have exchanged with the server on `port` of this machine.

    Only connections that are open now count.

    Raises:
        WireError: this is not Linux, or the kernel was built without it.
    """
    family = [process, *process.children(recursive=True)]
    own = {
        each.laddr.port
        for member in family
        for each in member.net_connections("tcp4")
        if each.raddr and each.raddr.port == port
    }
    counted = [bytes_ for (here, there), bytes_ in _connections() if here in own and there == port]
    return Wire(sum(sent for sent, _ in counted), sum(received for _, received in counted))


def _connections() -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Own and remote port, bytes sent and received, of each open connection."""
    try:
        asker = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)
    except (AttributeError, OSError) as none:
        raise WireError(f"bytes on the wire need Linux with sock_diag: {none}") from none
    asked = _ASKED.pack(socket.AF_INET, socket.IPPROTO_TCP, _WITH_TCP_INFO, 0, _ESTABLISHED)
    with asker:
        asker.settimeout(10)
        header = _HEADER.pack(_HEADER.size + len(asked), _BY_FAMILY, _REQUEST_AND_DUMP, 1, 0)
        asker.send(header + asked)
        while True:
            answer = memoryview(asker.recv(_BUFFER))
            while answer:
                length, kind, *_ = _HEADER.unpack_from(answer)
                if kind in _ENDS:
                    return
                found = answer[_HEADER.size : length]
                yield _PORTS.unpack_from(found), _transferred(found[_CONNECTION_BYTES:])
                answer = answer[_padded(length) :]


def _transferred(attributes: memoryview) -> tuple[int, int]:
    while attributes:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        if kind == _TCP_INFO:
            sent, received = _ACKED_AND_RECEIVED.unpack_from(attributes, _ATTRIBUTE.size)
            return sent, received
        attributes = attributes[_padded(length) :]
    raise WireError("the kernel says nothing about the bytes of a connection")


def _padded(length: int) -> int:
    """Netlink's parts begin at multiples of four."""
    return (length + 3) & ~3
