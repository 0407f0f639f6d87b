"""promtool and Prometheus itself: those on the PATH, else Debian's, kept outside the tree."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.services.cache import kept
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
    return kept("prometheus-debian", _unpack_into) / name


def _unpack_into(directory: Path) -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise MissingError("install Prometheus, which brings promtool, or put promtool on the PATH")
    with tempfile.TemporaryDirectory(dir=directory.parent) as name:
        # Readable for the user that apt downloads as.
        work = Path(name)
        work.chmod(0o755)
        if _fails(["apt-get", "--quiet", "download", PACKAGE], work):
            # A new machine has no lists of packages, or old ones.
            _fails(["apt-get", "--quiet", "update"], work)
            if said := _fails(["apt-get", "--quiet", "download", PACKAGE], work):
                raise MissingError(f"apt-get brings no {PACKAGE}; install it by hand: {said}")
        (package,) = work.glob("*.deb")
        unpacked = work / "unpacked"
        if said := _fails(["dpkg-deb", "--extract", str(package), str(unpacked)], work):
            raise MissingError(f"{package.name} cannot be unpacked: {said}")
        for wanted in PROGRAMS:
            (unpacked / "usr" / "bin" / wanted).rename(directory / wanted)


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
