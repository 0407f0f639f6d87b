"""Processes of the rooms: servers that a test starts and ends, and commands."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from consumer.former import passes_on
from tests.processes import forked
from tests.processes.process import Server


class RoomServer(Server):
    """A process of a room, as `Server`.

    Args:
        arguments: of `python -m`.
        log: file that takes stdout and stderr; kept over restarts.
        environment: all of it.
    """

    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        super().__init__(arguments[0], arguments, log)
        self._environment = environment

    def _begun(self, log: IO[bytes]) -> forked.Process:
        return forked.start(
            self._command,
            environment=self._environment,
            stdout=log,
            session=True,
            orphan_signal=signal.SIGTERM,
        )


def run(
    environment: Mapping[str, str], *arguments: str, room: str = "consumer"
) -> subprocess.CompletedProcess[str]:
    """Run `python -m ROOM` with these arguments to its end; what it said.

    A command that the consumer passes on is run by the room that it is passed on to.
    """
    room = "operator_cli" if room == "consumer" and passes_on(list(arguments)) else room
    return forked.run([room, *arguments], environment)
