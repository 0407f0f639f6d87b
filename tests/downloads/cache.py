"""What is fetched once and kept outside the tree, for every run and every checkout."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def cached(name: str) -> Path:
    """Where the directory `name` of the cache is or will be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "billing-stream" / name


def kept(name: str, fill: Callable[[Path], None]) -> Path:
    """The directory `name` of the cache; the first time, `fill` fills an empty one.

    It appears under its name only when it is complete, so that a run which is cut off leaves
    nothing that looks finished. Of several processes that ask at once, one fills and the others
    wait for it. What `fill` raises is raised here, and the next one who asks begins anew.
    """
    directory = cached(name)
    if directory.is_dir():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.is_dir():
            incoming = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=directory.parent))
            try:
                fill(incoming)
                incoming.rename(directory)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
    return directory
