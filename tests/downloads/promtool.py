"""promtool and Prometheus itself: those on the PATH, else Debian's, kept outside the tree."""

import shutil
import tempfile
from pathlib import Path
from typing import Final

from tests.downloads.cache import kept
from tests.downloads.debian import MissingError, unpack

__all__ = ["MissingError", "program"]

PROGRAMS: Final = ("promtool", "prometheus")
PACKAGE: Final = "prometheus"


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
    with tempfile.TemporaryDirectory(dir=directory.parent) as name:
        work = Path(name, "package")
        work.mkdir()
        unpack(PACKAGE, work)
        for wanted in PROGRAMS:
            (work / "usr" / "bin" / wanted).rename(directory / wanted)
