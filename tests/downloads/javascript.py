"""Packages for Node.js, installed by npm outside the tree, and scripts that use them."""

import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.downloads.cache import kept
from tests.waiting import NET_SECONDS

PACKAGES = Path(__file__).parent / "node"


class NodeError(RuntimeError):
    """npm could not install the packages; the text holds what it said."""


def missing() -> str:
    """What this machine lacks to run JavaScript; empty when nothing."""
    lacking = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
    return f"there is no {' and no '.join(lacking)}" if lacking else ""


def installed() -> Path:
    """The directory of the locked packages; the first time, npm fills it (seconds, a download).

    Raises:
        NodeError: npm failed.
    """
    lock = (PACKAGES / "package-lock.json").read_bytes()
    return kept(f"node-{hashlib.sha256(lock).hexdigest()[:8]}", _install)


def _install(directory: Path) -> None:
    shutil.copytree(PACKAGES, directory, dirs_exist_ok=True)
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
    )
    if done.returncode != 0:
        raise NodeError(f"npm ended with code {done.returncode}:\n{done.stderr[-2000:]}")


def script(directory: Path, name: str, text: str) -> list[str]:
    """Write a module into `directory`, beside the packages; the command that runs it there."""
    modules = directory / "node_modules"
    if not modules.exists():
        modules.symlink_to(installed() / "node_modules")
    (directory / name).write_text(text)
    return ["node", name]
