"""Servers that the tests start: in the foreground, output in a file, gone when the tests are."""

import os
import random
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from tests.processes.forked import Process
from tests.waiting import DEADLINE_SECONDS, NET_SECONDS, eventually

TETHER = Path(__file__).with_name("tether.py")
LAST_LINES = 30


class ServerError(RuntimeError):
    """A server could not be started or stopped; the text says which and why."""


PORTS = range(10_000, 20_000)
"""Below those that stacks take, and those that the kernel gives to outgoing connections."""
WORKERS = 20
"""More than a run has: each gives ports of its own, as another one asks at the same moment."""


class Ports:
    """Gives ports of its own, each when all others have been given since."""

    def __init__(self, own: Sequence[int]) -> None:
        self._own = deque(random.SystemRandom().sample(own, len(own)))

    def free(self) -> int:
        """A TCP port on 127.0.0.1 that nobody used a moment ago. Raises `ServerError`."""
        for _ in range(len(self._own)):
            self._own.rotate()
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", self._own[0]))
                except OSError:
                    continue
            return self._own[0]
        raise ServerError(f"each of the {len(self._own)} ports of this worker is taken")


@cache
def _ports_of(worker: int) -> Ports:
    return Ports(PORTS[worker % WORKERS :: WORKERS])


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody used a moment ago, and another one at each call.

    No promise that it stays free; another run of the tests may take it meanwhile. The same one
    comes again when all have been given. Raises `ServerError`.
    """
    # The main process is worker 0, `gw0` worker 1.
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw-1")
    return _ports_of(int(name.removeprefix("gw")) + 1).free()


def whole_lines(log: Path) -> list[str]:
    """The lines of a file that somebody may be writing: without the one that has no end yet."""
    return log.read_text(errors="replace").split("\n")[:-1]


def exit_code(process: Process, name: str, deadline_seconds: float = DEADLINE_SECONDS) -> int:
    """Wait for the end of a process and give its exit code.

    Args:
        process: a child of this one.
        name: for the message.
        deadline_seconds: by a `Stopwatch`.

    Raises:
        TimeoutError: it still runs.
    """
    eventually(lambda: process.poll() is not None, f"the end of {name}", deadline_seconds)
    return int(process.returncode)


class Server:
    """One process that can be started, stopped, killed, suspended and started again.

    Args:
        name: for messages.
        command: the program and its arguments.
        log: file that takes stdout and stderr; kept over restarts.
        env: the whole environment of the process; default: the one of the tests.
        cwd: its working directory.
        user: user to run as; only root can name another one.
        stop_signal: asks for an orderly end.
        orphan_signal: is sent when the test process dies; default: the one for an orderly end.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        orphan_signal: signal.Signals | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._env = env
        self._cwd = cwd
        self._user = user
        self._stop_signal = stop_signal
        self._orphan_signal = orphan_signal or stop_signal
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The process id.

        Raises:
            ServerError: it does not run.
        """
        if self._process is None:
            raise ServerError(f"{self.name} does not run")
        return self._process.pid

    @property
    def started(self) -> bool:
        """Whether it was started, and not stopped or killed since; it may have ended by itself."""
        return self._process is not None

    def start(self) -> None:
        """Start the process; returns before it is ready to serve."""
        if self._process is not None:
            raise ServerError(f"{self.name} runs already as process {self.pid}")
        with self.log.open("ab") as log:
            self._process = self._begun(log)

    def _begun(self, log: IO[bytes]) -> Process:
        tether = [sys.executable, "-I", "-S", str(TETHER)]
        tether += [str(os.getpid()), str(int(self._orphan_signal)), self._user or "-"]
        return subprocess.Popen(
            [*tether, *self._command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self._env,
            cwd=self._cwd,
            start_new_session=True,
        )

    def check(self) -> None:
        """Raise ServerError, with the end of the log, when the process has ended by itself."""
        if self._process is None:
            raise ServerError(f"{self.name} was not started")
        code = self._process.poll()
        if code is not None:
            raise ServerError(f"{self.name} ended with code {code}; its log ends:\n{self.tail()}")

    def tail(self) -> str:
        """The last lines of the log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LAST_LINES:])

    def stop(self, deadline_seconds: float = 30) -> None:
        """Ask it to end in order, wait, and kill it when it does not; no error if it is gone.

        Args:
            deadline_seconds: by a `Stopwatch`.

        Raises:
            ServerError: it had to be killed.
        """
        if self._process is None:
            return
        # A suspended process takes no signal but SIGKILL until it is resumed.
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(self._stop_signal)
        try:
            exit_code(self._process, self.name, deadline_seconds)
        except TimeoutError:
            self._say_where_it_stands()
            self.kill()
            raise ServerError(
                f"{self.name} did not end within {deadline_seconds:g} s of"
                f" {self._stop_signal.name} and was killed; its log ends:\n{self.tail()}"
            ) from None
        self._process = None

    def _say_where_it_stands(self) -> None:
        """Have it write into its log what it waits for, where it can."""

    def kill(self) -> None:
        """SIGKILL, as a crash: nothing is flushed, nobody is told."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(NET_SECONDS)
            self._process = None

    def suspend(self) -> None:
        """SIGSTOP: its connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT, after `suspend`."""
        os.kill(self.pid, signal.SIGCONT)
