"""Links of a network that tests can cut, silence and slow down, without any privilege.

Each link is a door of a forwarding process (`forwarder.py`): whoever is to go through it connects
to the door instead of the server.
"""

import json
import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.processes.process import Server, free_port
from tests.waiting import NET_SECONDS, eventually

FORWARDER = Path(__file__).with_name("forwarder.py")
START_SECONDS = 30.0


@dataclass(frozen=True)
class Door:
    """An address and the port of 127.0.0.1 behind it. Doors of one name are one link."""

    name: str
    host: str
    port: int
    behind: int


class LinkError(RuntimeError):
    """The forwarding process refused an order; the text says which and why."""


class Links:
    """A forwarding process. Every link is open when it starts.

    Args:
        doors: all of them.
        log: file that takes what the process prints.
    """

    def __init__(self, doors: Sequence[Door], log: Path) -> None:
        self._doors = list(doors)
        self._control = free_port()
        command = [sys.executable, "-I", "-S", str(FORWARDER), str(self._control)]
        self._server = Server("the forwarder of links", command, log)
        self._connection: socket.socket | None = None

    @property
    def pid(self) -> int:
        """The forwarding process."""
        return self._server.pid

    @property
    def names(self) -> list[str]:
        """Every link, in the order of the doors."""
        return list(dict.fromkeys(door.name for door in self._doors))

    def start(self) -> None:
        """Start the process; returns when every door is open.

        Raises:
            LinkError: a door's port is taken.
            TimeoutError: the process does not answer.
        """
        self._server.start()
        self._connection = eventually(self._reached, "the forwarder of links", START_SECONDS)
        for door in self._doors:
            self._order(asdict(door))

    def stop(self) -> None:
        """End the process and with it every connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._server.kill()

    def open(self, names: Iterable[str] | None = None) -> None:
        """Make links whole again; all without `names`. What was under way goes on its way."""
        self._turn(self.names if names is None else names, "open")

    def cut(self, names: Iterable[str]) -> None:
        """Reset the connections and refuse new ones."""
        self._turn(names, "cut")

    def silence(self, names: Iterable[str]) -> None:
        """Let nothing pass: connections stay and are silent, new ones get no answer at all."""
        self._turn(names, "silent")

    def slow(self, names: Iterable[str], delay_seconds: float) -> None:
        """Let everything pass so much later."""
        self._turn(names, "slow", delay_seconds)

    def _turn(self, names: Iterable[str], state: str, delay: float = 0.0) -> None:
        self._order({"links": list(names), "state": state, "delay": delay})

    def _reached(self) -> socket.socket | None:
        self._server.check()
        try:
            return socket.create_connection(("127.0.0.1", self._control), NET_SECONDS)
        except OSError:
            return None

    def _order(self, order: dict[str, object]) -> None:
        if self._connection is None:
            raise LinkError(f"no forwarder runs that could take {order}")
        self._connection.sendall(json.dumps(order).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            data = self._connection.recv(4_096)
            if not data:
                raise LinkError(f"the forwarder ended at {order}:\n{self._server.tail()}")
            answer += data
        if answer != b"done\n":
            raise LinkError(f"{order}: {answer.decode().strip()}")
