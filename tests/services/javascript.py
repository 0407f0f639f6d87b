"""Packages for Node.js, installed by npm outside the tree, and scripts that use them."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.services.waiting import NET_SECONDS

PACKAGES = Path(__file__).parent / "node"


class NodeError(RuntimeError):
    """npm could not install the packages; the text holds what it said."""


def missing() -> str:
    """What this machine lacks to run JavaScript; empty when nothing."""
    lacking = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
    return f"there is no {' and no '.join(lacking)}" if lacking else ""


def installed() -> Path:
    """The directory of the locked packages; the first time, npm fills it (seconds, a download).

    It appears under its name only when it is complete.

    Raises:
        NodeError: npm failed.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "billing-stream"
    lock = (PACKAGES / "package-lock.json").read_bytes()
    directory = cache / f"node-{hashlib.sha256(lock).hexdigest()[:8]}"
    if directory.is_dir():
        return directory
    cache.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=cache))
    try:
        shutil.copytree(PACKAGES, incoming, dirs_exist_ok=True)
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=incoming,
            capture_output=True,
            text=True,
            check=False,
            timeout=NET_SECONDS,
        )
        if done.returncode != 0:
            raise NodeError(f"npm ended with code {done.returncode}:\n{done.stderr[-2000:]}")
        if not directory.is_dir():
            incoming.rename(directory)
    except OSError as refused:
        # Another run may have put its own in place between the two lines above.
        if not directory.is_dir():
            raise NodeError(f"the packages could not be stored: {refused}") from refused
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return directory


def script(directory: Path, name: str, text: str) -> list[str]:
    """Write a module into `directory`, beside the packages; the command that runs it there."""
    modules = directory / "node_modules"
    if not modules.exists():
        modules.symlink_to(installed() / "node_modules")
    (directory / name).write_text(text)
    return ["node", name]
