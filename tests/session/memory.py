"""Directories in memory, for servers whose data nobody wants after the run.

A new database is some hundred files, a topic a dozen, and the tests make thousands of both. On the
disk of a small virtual machine a database takes an eighth of a second of a processor, in memory a
fiftieth.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - directories in it belong to one process
LEAST_FREE_BYTES: Final = 1 << 30
"""In the file system. A run on two cores has 0.3 GiB there."""
LEAST_AVAILABLE_BYTES: Final = 4 << 30
"""Of the machine's memory, which is what the files take."""
NO_PROGRAMS: Final = getattr(os, "ST_NOEXEC", 0)
"""The flag of a file system that none may be run from; only Linux has one."""
_PREFIX: Final = "billing-stream-tests-"


@contextmanager
def in_memory(what: str, parent: Path = SHARED_MEMORY) -> Iterator[Path | None]:
    """A directory that other users may enter but not read, for as long as the block.

    Directories of processes that were killed are removed, too.

    Args:
        what: is kept in it; a word without a dash.
        parent: a file system in memory.

    Yields:
        The directory; None where `parent` is not there or not ours to write to, where no program
        may be run from it (PostgreSQL's may have to be copied), or where there is not enough room.
    """
    ours = parent.is_dir() and os.access(parent, os.W_OK)
    if not ours or os.statvfs(parent).f_flag & NO_PROGRAMS:
        yield None
        return
    _tidy(parent)
    free, available = shutil.disk_usage(parent).free, psutil.virtual_memory().available
    if free < LEAST_FREE_BYTES or available < LEAST_AVAILABLE_BYTES:
        yield None
        return
    made = parent / f"{_PREFIX}{os.getpid()}-{what}"
    made.mkdir()
    # PostgreSQL runs as an unprivileged user where the tests are root's.
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _tidy(parent: Path) -> None:
    for former in parent.glob(f"{_PREFIX}*-*"):
        owner = former.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            # What is somebody else's stays: it may not be removed.
            shutil.rmtree(former, ignore_errors=True)
