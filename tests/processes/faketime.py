"""A clock of one process that tests set while it runs: libfaketime, out of Debian's package."""

from pathlib import Path
from typing import Final

from tests.downloads.debian import unpacked

RIGHT: Final = "+0"


class Clock:
    """What a process takes for the time of day, as long as it was started with `environment`.

    What it takes for time that passes (the monotonic clock) stays right, as where a clock is set.

    Args:
        file: is made; holds by how much the clock is wrong.

    Raises:
        MissingError: the library is not here and cannot be had.
    """

    def __init__(self, file: Path) -> None:
        root = unpacked("libfaketime")
        library = next(root.glob("usr/lib/*-linux-gnu*/faketime/libfaketimeMT.so.1"))
        self._file = file
        self.set(RIGHT)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            # Seconds after which the file is read again.
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset: str) -> None:
        """Have it be wrong from the next second on: `+1h`, `-1d`, `RIGHT`."""
        incoming = self._file.with_suffix(".new")
        incoming.write_text(f"{offset}\n")
        incoming.rename(self._file)
