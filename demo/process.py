"""One supervised process: how it is started, when it is ready, how it is stopped."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo.settings import LOOPBACK, ROOT

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_NO_PROXY = f"{LOOPBACK},localhost"
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class StackError(Exception):
    """The stack cannot run; the text says which part and what to do."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The operating-system user a process runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Service:
    """A process of the stack.

    With `ready` it is a server: up when the probe says so. Without, it is a job: done when it
    exits with 0. `orphan_signal` is what the kernel sends it when its supervisor dies (Linux).
    One that `restarts` is begun again when a signal ended it, as an orchestrator would, after
    `on_death`; its death is told all the same. One that ended by itself said why, and would end
    again: it is begun again when a person asks for it.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    needs: frozenset[str] = field(default=frozenset())
    ready: Callable[[], bool] | None = None
    deadline_seconds: float = 180
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    stop_seconds: float = 15
    account: Account | None = None
    address: str = ""
    restarts: bool = False
    on_death: Callable[[], None] | None = None


class Child:
    """A started service."""

    def __init__(self, service: Service, log: Path) -> None:
        """Start `service`, its output appended to `log`.

        Raises:
            OSError: when the command cannot be started.
        """
        self.service = service
        self.started = time.monotonic()
        account = service.account
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                service.command,
                cwd=service.directory,
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=() if account else None,
                preexec_fn=_die_with_parent(service.orphan_signal),  # noqa: PLW1509 - one thread
            )
        self.pid = self._process.pid

    def exit_code(self) -> int | None:
        """Return the exit code (negative: the signal that ended it), None while it runs."""
        return self._process.poll()

    def is_ready(self) -> bool:
        """Say whether a server answers; False for a job."""
        return self.service.ready is not None and self.service.ready()

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.started

    def stop(self) -> bool:
        """End the process: its stop signal, then SIGKILL to its group after `stop_seconds`.

        Returns:
            False when it had to be killed.
        """
        if self._process.poll() is not None:
            return True
        self._process.send_signal(self.service.stop_signal)
        try:
            self._process.wait(self.service.stop_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            return False
        return True


def inherited() -> dict[str, str]:
    """Return this process's environment as children get it.

    Where the caller forbids bytecode beside the sources, it goes into `.cache`: without any, the
    LiteLLM proxy compiles itself for half a minute at every start.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "NO_PROXY": _NO_PROXY}
    if environment.pop("PYTHONDONTWRITEBYTECODE", None):
        environment["PYTHONPYCACHEPREFIX"] = str(ROOT / ".cache" / "bytecode")
    return environment


def _die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Ask the kernel for `number` at the parent's death, so that nothing outlives a supervisor.

    Where the kernel has no such request, `down` finds what is left by the recorded pids.
    """
    if _libc is None:
        return None
    prctl, parent = _libc.prctl, os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it died before the request was in place
            os._exit(1)

    return bind
