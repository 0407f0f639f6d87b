"""What a stack leaves behind that did not end in order: processes, and the embedded data."""

import contextlib
import shutil
from pathlib import Path

import psutil

from demo import spool
from demo.state import RunDirectory, ServiceState, StackState

_KILL_SECONDS = 10


def clear(directory: RunDirectory) -> list[str]:
    """End what a dead supervisor left behind and delete the embedded data; needs the lock.

    Callbacks that wait in the gateway's spool have been answered 202: they are kept.

    Returns:
        The names of the processes that were still there.
    """
    state = directory.read_state()
    rows = state.services if state else []
    names = [row.name for row in rows if _end(row)]
    directory.environment_file.unlink(missing_ok=True)
    for path in _data(directory, state):
        shutil.rmtree(path, ignore_errors=True)
    spool.remove(directory.spool)
    return names


def holds_ledger(directory: RunDirectory) -> bool:
    """Say whether there is an embedded ledger of a stack that did not end in order."""
    state = directory.read_state()
    return bool(state and state.ledger) and any(path.exists() for path in _data(directory, state))


def _data(directory: RunDirectory, state: StackState | None) -> list[Path]:
    return [directory.data, *(Path(text) for text in (state.scratch if state else ()))]


def _end(row: ServiceState) -> bool:
    """Kill the recorded process and its descendants; False when it had ended by itself."""
    if row.pid is None or row.born is None:
        return False
    try:
        process = psutil.Process(row.pid)
        if process.create_time() != row.born or process.status() == psutil.STATUS_ZOMBIE:
            return False
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return False
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, timeout=_KILL_SECONDS)
    return True
