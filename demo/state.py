"""The run directory: what a running stack says about itself, and the lock that proves it runs."""

import fcntl
import os
import re
import shlex
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

ServicePhase = Literal[
    "waiting", "starting", "ready", "done", "stopping", "stopped", "killed", "failed"
]
StackPhase = Literal["starting", "ready", "degraded", "stopping", "stopped", "failed"]


_LOCK_ATTEMPTS = 20
_LOCK_PAUSE_SECONDS = 0.05
_REMEMBERED = 20
_CRASHES = frozenset({
    signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP
})  # fmt: skip
_PLAIN = re.compile(r"[\w@%+=:,./?-]*", re.ASCII)


class ServiceState(msgspec.Struct):
    """One process of the stack. `born` is its start in epoch seconds: a pid alone is reused.

    `exit_code` is that of its last end, also of one that was begun again since.
    """

    name: str
    phase: ServicePhase = "waiting"
    pid: int | None = None
    born: float | None = None
    address: str = ""
    log: str = ""
    seconds: float | None = None
    exit_code: int | None = None
    restarts: int = 0


class StackState(msgspec.Struct):
    """The stack as its supervisor last described it.

    `scratch` are directories outside the run directory that go with the stack. `ledger` says that
    the database goes too. `attempts` counts the requests to begin again what has ended.
    """

    phase: StackPhase
    pid: int
    services: list[ServiceState] = []
    scratch: list[str] = []
    ledger: bool = False
    message: str = ""
    attempts: int = 0

    def crashes(self) -> list[str]:
        """Return in words which processes crashed the last time they ended: a fault of their own.

        Not those that were killed or told to stop.
        """
        return [
            f"{row.name} {how_ended(row.exit_code)}"
            for row in self.services
            if row.exit_code is not None and -row.exit_code in _CRASHES
        ]


def how_ended(code: int) -> str:
    """Return in words how a process ended, of its exit code or of the signal below 0."""
    words = f"ended with exit code {code}"
    return f"{words} ({signal.Signals(-code).name})" if code < 0 else words


class AlreadyRunningError(Exception):
    """Another supervisor holds this run directory."""


class UnusableDirectoryError(Exception):
    """The run directory cannot be made or written; the text says what to do."""


class RunDirectory:
    """Where a stack keeps its environment file, logs, state and embedded data.

    The lock is held by the supervisor for as long as it lives, whatever way it ends, so
    `is_held` never mistakes a stale file for a running stack.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.environment_file = self.path / "env"
        self.marks_file = self.path / "marks"
        self.logs = self.path / "logs"
        self.data = self.path / "data"
        self.spool = self.path / "spool"
        self._state_file = self.path / "state.json"
        self._lock_file = self.path / "lock"

    def create(self) -> None:
        """Make the directory, readable by its owner only: it holds tokens and logs.

        Raises:
            UnusableDirectoryError: when that is not allowed here.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.chmod(0o700)
            self.logs.mkdir(exist_ok=True)
        except OSError as error:
            raise UnusableDirectoryError(
                f"{self.path} cannot be the run directory ({error.strerror}): choose one that you "
                "may write to with --directory"
            ) from error

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the directory until the block ends.

        Raises:
            AlreadyRunningError: when a living process holds it.
        """
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _lock(descriptor):
                raise AlreadyRunningError(f"a stack already runs in {self.path}")
            yield
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Say whether a living supervisor holds this directory."""
        try:
            descriptor = os.open(self._lock_file, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def read_state(self) -> StackState | None:
        """Return what the supervisor last wrote, or None when nothing ever ran here."""
        try:
            return msgspec.json.decode(self._state_file.read_bytes(), type=StackState)
        except FileNotFoundError:
            return None

    def write_state(self, state: StackState) -> None:
        """Replace the state in one step, so that a reader never sees half of it."""
        self._replace(self._state_file, msgspec.json.encode(state))

    def write_environment(self, values: Mapping[str, str]) -> None:
        """Write the environment file, one KEY=value a line, readable by its owner only.

        A shell can source it: a value with other characters than addresses have is quoted.
        """
        text = "".join(f"{key}={_quoted(value)}\n" for key, value in values.items())
        self._replace(self.environment_file, text.encode())

    def read_environment(self) -> dict[str, str]:
        """Return the environment file's values; empty when the stack is not ready."""
        if not self.environment_file.exists():
            return {}
        pairs = (line.split("=", 1) for line in self.environment_file.read_text().splitlines())
        return {key: "".join(shlex.split(value)) for key, value in pairs}

    def remember(self, mark: str) -> None:
        """Keep what a stack called its own, for as long as some shell may still hold it."""
        kept = [mark, *(line for line in _lines(self.marks_file) if line != mark)][:_REMEMBERED]
        self._replace(self.marks_file, "".join(f"{line}\n" for line in kept).encode())

    def remembered(self) -> list[str]:
        """Return what stacks called their own, here and in the run directories beside it."""
        near = (self, *self.relatives())
        return [mark for directory in near for mark in _lines(directory.marks_file)]

    def relatives(self) -> "list[RunDirectory]":
        """Return the run directory that this one stands in, and those that stand in it."""
        near = [self.path.parent, *(self.path.iterdir() if self.path.is_dir() else ())]
        return [RunDirectory(path) for path in near if (path / self._state_file.name).is_file()]

    def tail(self, name: str, lines: int = 20) -> str:
        """Return the last lines of one process's log; empty when it wrote none."""
        path = self.logs / f"{name}.log"
        if not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

    def _replace(self, target: Path, content: bytes) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{target.name}-")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).replace(target)


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else shlex.quote(value)


def _lock(descriptor: int) -> bool:
    """Lock exclusively; several attempts, because `is_held` locks for a moment when it looks."""
    for attempt in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 < _LOCK_ATTEMPTS:
                time.sleep(_LOCK_PAUSE_SECONDS)
            continue
        return True
    return False
