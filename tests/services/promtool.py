"""promtool and Prometheus itself: those on the PATH, else Debian's, kept outside the tree."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.services.waiting import NET_SECONDS

PROGRAMS: Final = ("promtool", "prometheus")
PACKAGE: Final = "prometheus"


class MissingError(RuntimeError):
    """The programs are not here and cannot be had; the text says what to do."""


def program(name: str) -> Path:
    """The path of `promtool` or `prometheus`.

    Where it is not on the PATH, Debian's package is downloaded once and unpacked (some seconds; not
    installed, so that no service starts).

    Raises:
        MissingError: it is not here, and this machine has no apt-get that could bring it.
    """
    if found := shutil.which(name):
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "billing-stream"
    kept = cache / "prometheus-debian"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".prometheus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_dir():
            _unpack_into(kept)
    return kept / name


def _unpack_into(kept: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise MissingError("install Prometheus, which brings promtool, or put promtool on the PATH")
    with tempfile.TemporaryDirectory(dir=kept.parent) as name:
        # Readable for the user that apt downloads as.
        directory = Path(name)
        directory.chmod(0o755)
        if _fails(["apt-get", "--quiet", "download", PACKAGE], directory):
            # A new machine has no lists of packages, or old ones.
            _fails(["apt-get", "--quiet", "update"], directory)
            if said := _fails(["apt-get", "--quiet", "download", PACKAGE], directory):
                raise MissingError(f"apt-get brings no {PACKAGE}; install it by hand: {said}")
        (package,) = directory.glob("*.deb")
        unpacked, ready = directory / "unpacked", directory / "ready"
        if said := _fails(["dpkg-deb", "--extract", str(package), str(unpacked)], directory):
            raise MissingError(f"{package.name} cannot be unpacked: {said}")
        ready.mkdir()
        for wanted in PROGRAMS:
            (unpacked / "usr" / "bin" / wanted).rename(ready / wanted)
        # Under its name only when it is complete.
        ready.rename(kept)


def _fails(command: list[str], directory: Path) -> str:
    """What a command said when it failed; empty where it did not."""
    done = subprocess.run(
        command,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
    )
    return (done.stderr or done.stdout or "no reason")[-500:] if done.returncode else ""
