"""The processes of the fleet: each remembers the ends of it that nobody brought about."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from tests.clients import fetching
from tests.processes import forked
from tests.processes.process import Server

ABORTS_SECONDS = 10.0


@dataclass(frozen=True)
class Exit:
    """A process of `room` ended by itself, or not as it was asked to; `log` is the end of its log.

    `code` is negative for a signal.
    """

    room: str
    name: str
    code: int
    log: str


class Process(Server):
    """A process of a room, with probes and metrics on `metrics_port`.

    Args:
        room: whose process it is.
        name: its own.
        command: the program and its arguments.
        log: takes what it says, over all its lives.
        env: its whole environment.
        cwd: its working directory: the tree whose code it runs.
        metrics_port: as its environment says.
        module: with its arguments, where the command only runs it in this tree: it is forked then.
    """

    def __init__(
        self,
        room: str,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str],
        cwd: Path,
        metrics_port: int,
        module: Sequence[str] = (),
    ) -> None:
        super().__init__(name, command, log, env=env, cwd=cwd)
        self._environment, self._module = env, module
        self.room = room
        self.metrics_port = metrics_port
        self.exits: list[Exit] = []

    def _begun(self, log: IO[bytes]) -> forked.Process:
        if not self._module:
            return super()._begun(log)
        return forked.start(
            self._module,
            environment=self._environment,
            stdout=log,
            session=True,
            orphan_signal=signal.SIGTERM,
        )

    def is_ready(self) -> bool:
        """Whether `/readyz` is good; a consumer has partitions then."""
        try:
            answer = fetching.get(f"http://127.0.0.1:{self.metrics_port}/readyz")
        except httpx.TransportError:
            return False
        return answer.is_success

    @property
    def peak_bytes(self) -> int:
        """The most memory that its present life ever had."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024

    def kill(self) -> None:
        """SIGKILL, as a crash. An end before that is remembered."""
        self._note_end()
        super().kill()

    def tail(self) -> str:
        """The last lines of the log, or where each thread stood when it was aborted."""
        text = self.log.read_text(errors="replace")
        _, aborted, threads = text.rpartition("Fatal Python error: Aborted")
        return aborted + threads if aborted else super().tail()

    def stop(self, deadline_seconds: float = 60) -> None:
        """Ask it to end; an end before that, or one with a failure, is remembered."""
        process = self._process
        if self._note_end():
            super().kill()
            return
        super().stop(deadline_seconds)
        # One that was stopped before it could listen to signals ends by the signal itself.
        if process is not None and process.returncode not in {0, -signal.SIGTERM}:
            self._remember(process.returncode)

    def _say_where_it_stands(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(ABORTS_SECONDS)

    def _note_end(self) -> bool:
        code = self._process.poll() if self._process is not None else None
        if code is None:
            return False
        self._remember(code)
        return True

    def _remember(self, code: int) -> None:
        self.exits.append(Exit(self.room, self.name, code, self.tail()))


def alive(server: Server) -> bool:
    """Whether the process runs."""
    try:
        os.kill(server.pid, 0)
        server.check()
    except (RuntimeError, ProcessLookupError):
        return False
    return True
