"""Addresses on this machine: free ports, and probes of what listens there."""

import fcntl
import os
import random
import socket
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path

import httpx

from demo.process import StackError
from demo.settings import LOOPBACK

# Below the range from which systems take the ports of outgoing connections.
_PORTS = range(20_000, 32_000)
_ATTEMPTS = 100
_PROBE_SECONDS = 2
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - recognised, never bound


class Ports:
    """Free loopback ports, no two alike, nor like those of another stack that begins meanwhile.

    Between the choice of a port and its use lies the start of what uses it, and many stacks of one
    user may begin at once: each holds a lock for each of its ports as long as this object lives.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._held: list[int] = []
        weakref.finalize(self, _close, self._held)
        self._locks = Path(tempfile.gettempdir(), f"billing-stream-ports-{os.getuid()}")

    def take(self, wanted: int | None = None) -> int:
        """Return `wanted` as it is, or a free port.

        A port is free when asked; a process that is no stack may take it before its use.

        Raises:
            StackError: when a hundred attempts found none, or no lock can be made in the directory
                for temporary files.
        """
        if wanted is not None:
            self._taken.add(wanted)
            return wanted
        for port in random.sample(_PORTS, _ATTEMPTS):
            if port not in self._taken and self._hold(port):
                self._taken.add(port)
                if _is_free(port):
                    return port
        raise StackError(f"no free port found from {_PORTS.start} to {_PORTS.stop - 1}")

    def _hold(self, port: int) -> bool:
        """Lock a port against other stacks; the lock ends with this process at the latest."""
        try:
            self._locks.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(self._locks / str(port), os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackError(f"no lock for a port in {self._locks}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._held.append(lock)
        return True


def _close(locks: list[int]) -> None:
    for lock in locks:
        os.close(lock)


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
