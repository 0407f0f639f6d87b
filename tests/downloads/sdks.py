"""The libraries that docs/examples use, in an environment outside the tree.

They are pinned with hashes in `examples/requirements.txt`; its first lines say how it is written
again.
"""

import hashlib
import sys
from pathlib import Path
from typing import Final

from tests.downloads.cache import kept
from tests.processes.proxies import uv

PINS: Final = Path(__file__).parent / "examples" / "requirements.txt"


def installed() -> Path:
    """The interpreter of the environment; the first time, uv fills it (seconds, and a download).

    Raises:
        InstallError: there is no uv, or it failed.
    """

    def fill(directory: Path) -> None:
        python = directory / "bin" / "python"
        uv("venv", "--quiet", "--clear", "--relocatable", "--python", sys.executable, directory)
        options = ("--quiet", "--no-deps", "--require-hashes", "--python", python)
        uv("pip", "install", *options, "--requirements", PINS)

    content = PINS.read_bytes() + sys.version.encode()
    return kept(f"sdks-{hashlib.sha256(content).hexdigest()[:8]}", fill) / "bin" / "python"
