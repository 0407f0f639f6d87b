"""Addresses on this machine: free ports, and probes of what listens there."""

import random
import socket
from collections.abc import Callable

import httpx

from demo.process import StackError
from demo.settings import LOOPBACK

# Below the range from which systems take the ports of outgoing connections.
_PORTS = range(20_000, 32_000)
_ATTEMPTS = 100
_PROBE_SECONDS = 2
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - recognised, never bound


class Ports:
    """Free loopback ports, no two alike."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, wanted: int | None = None) -> int:
        """Return `wanted` as it is, or a free port.

        A port is free when asked, not reserved: another process may take it before its use.

        Raises:
            StackError: when a hundred attempts found none.
        """
        if wanted is not None:
            self._taken.add(wanted)
            return wanted
        for port in random.sample(_PORTS, _ATTEMPTS):
            if port not in self._taken and _is_free(port):
                self._taken.add(port)
                return port
        raise StackError(f"no free port found from {_PORTS.start} to {_PORTS.stop - 1}")


def address(host: str, port: int) -> str:
    """Return host:port as a caller on this machine reaches a server bound to `host`."""
    return f"{LOOPBACK if host in _EVERY_ADDRESS else host}:{port}"


def answers(url: str) -> Callable[[], bool]:
    """Return a probe that holds when a GET of `url` is answered with 200 within two seconds."""
    client = httpx.Client(timeout=_PROBE_SECONDS, trust_env=False)

    def probe() -> bool:
        try:
            answer = client.get(url)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    return probe


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
