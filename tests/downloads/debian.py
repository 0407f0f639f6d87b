"""Programs out of Debian's packages: downloaded and unpacked, never installed."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.downloads.cache import kept
from tests.waiting import NET_SECONDS


class MissingError(RuntimeError):
    """A program is not here and cannot be had; the text says what to do."""


def unpacked(package: str, *, libraries: bool = False) -> Path:
    """A directory with what a package holds, as of `unpack`; fetched once and kept."""
    return kept(f"{package}-debian", partial(unpack, package, libraries=libraries))


def unpack(package: str, directory: Path, *, libraries: bool = False) -> None:
    """Fill an empty directory with what a package holds, below `usr`, as Debian lays it out.

    Args:
        package: its name.
        directory: where to; beside it there is room for the download.
        libraries: also those that the package needs and a machine may not have.

    Raises:
        MissingError: this machine has no apt-get that could bring them.
    """
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise MissingError(f"install {package}, or put it on the PATH")
    with tempfile.TemporaryDirectory(dir=directory.parent) as name:
        # Readable for the user that apt downloads as.
        work = Path(name)
        work.chmod(0o755)
        command = ["apt-get", "--quiet", "download", package]
        if _fails(command, work):
            # A new machine has no lists of packages, or old ones.
            _fails(["apt-get", "--quiet", "update"], work)
            if said := _fails(command, work):
                raise MissingError(f"apt-get brings no {package}; install it by hand: {said}")
        needed = _libraries(next(work.glob("*.deb"))) if libraries else []
        if needed and (said := _fails(["apt-get", "--quiet", "download", *needed], work)):
            raise MissingError(f"apt-get brings not what {package} needs: {said}")
        for file in work.glob("*.deb"):
            if said := _fails(["dpkg-deb", "--extract", str(file), str(directory)], work):
                raise MissingError(f"{file.name} cannot be unpacked: {said}")


def _libraries(package: Path) -> list[str]:
    """The libraries that a package depends on, but for that of C."""
    command = ["dpkg-deb", "--field", str(package), "Depends"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=NET_SECONDS)
    names = re.findall(r"(?:^|, )(lib[\w.+-]+)", told.stdout)
    return [name for name in names if name != "libc6"]


def _fails(command: Sequence[str], directory: Path) -> str:
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
