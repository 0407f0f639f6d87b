"""Processes of the rooms, made by fork servers: as `python -m ROOM` makes them, and sooner.

Where there is no such kernel (not Linux), an interpreter is started each time.
"""

import array
import atexit
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

from tests.waiting import NET_SECONDS

ROOT: Final = Path(__file__).parents[2]
PR_SET_CHILD_SUBREAPER: Final = 36
ON_LINUX: Final = sys.platform == "linux"
_servers: dict[str, "_Server"] = {}
_one_at_a_time: Final = threading.Lock()
"""The kernel is asked for orphans of the whole process, whichever thread asks."""


class Process(Protocol):
    """What the tests need of a process: part of `subprocess.Popen`."""

    pid: int

    @property
    def returncode(self) -> int | Any:  # noqa: ANN401 - typeshed says the same
        """Its exit code once `poll` or `wait` has seen its end, else None."""

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises `subprocess.TimeoutExpired`."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""


class Forked:
    """A child of this process that a fork server has made."""

    def __init__(self, arguments: Sequence[str], pid: int) -> None:
        self.args = list(arguments)
        self.pid = pid
        self.returncode: int | None = None
        self._looking = threading.Lock()

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        with self._looking:
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises `subprocess.TimeoutExpired`."""
        if self.poll() is None:
            ends = os.pidfd_open(self.pid)
            try:
                select.select([ends], [], [], timeout)
            finally:
                os.close(ends)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)


class _Server:
    """One fork server, for one room."""

    def __init__(self, room: str) -> None:
        self._asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        with asked:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.processes.fork_server"),
                    *(room, str(asked.fileno()), str(os.getpid())),
                ],
                cwd=ROOT,
                env=own,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[asked.fileno()],
                start_new_session=True,
            )

    def make(self, request: dict[str, Any], files: Sequence[int]) -> int:
        """The pid of a new child of this process."""
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
            self._asking.sendmsg([json.dumps(request).encode()], ancillary)
            made = self._asking.recv(20)
        finally:
            libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        if not made:
            raise RuntimeError(f"the fork server ended with code {self._process.wait(NET_SECONDS)}")
        return int(made)

    def end(self) -> None:
        """It ends when nobody can ask any more."""
        self._asking.close()
        self._process.wait(NET_SECONDS)


def start(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdout: IO[bytes],
    stderr: IO[bytes] | None = None,
    session: bool = False,
    orphan_signal: int = 0,
) -> Process:
    """Start `python -m` with these arguments, in the project's directory, without input.

    Args:
        arguments: a module and its arguments; the module of a room, or one that replaces a part of
            the consumer.
        environment: all of it.
        stdout: where output goes.
        stderr: where errors go; default: as output.
        session: whether it leads a session of its own.
        orphan_signal: what it gets when this process dies (Linux); 0: nothing.
    """
    errors = stderr or stdout
    if not ON_LINUX:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=errors,
            start_new_session=session,
        )
    room = arguments[0].partition(".")[0]
    room = "consumer" if room == "tests" else room
    request = {
        "arguments": list(arguments),
        "environment": dict(environment),
        "directory": str(ROOT),
        "session": session,
        "orphan_signal": orphan_signal,
    }
    with Path(os.devnull).open("rb") as nothing:
        files = [nothing.fileno(), stdout.fileno(), errors.fileno()]
        with _one_at_a_time:
            if room not in _servers:
                _servers[room] = _Server(room)
                atexit.register(_servers[room].end)
            return Forked(arguments, _servers[room].make(request, files))


def run(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run `python -m` with these arguments to its end; what it said.

    Raises:
        subprocess.TimeoutExpired: it hangs, and was killed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = start(arguments, environment=environment, stdout=out, stderr=errors)
        try:
            code = process.wait(NET_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(NET_SECONDS)
            raise
        said = []
        for file in (out, errors):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess(list(arguments), code, *said)
