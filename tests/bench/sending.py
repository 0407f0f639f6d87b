"""Starting the load generator and reading what it says."""

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.bench.load import Answered, Load
from tests.bench.services import ROOT

_MORE_SECONDS = 120.0
"""For making the bodies, and for answers that come late."""


class LoadError(RuntimeError):
    """Not every request was answered as it should be; the text says how."""


def send(load: Load, status: str = "202") -> Answered:
    """Send a load from a process of its own; every answer must have this status.

    Raises:
        LoadError: something else was answered, or the generator failed.
    """
    command = [sys.executable, "-m", "tests.bench.load", json.dumps(asdict(load))]
    seconds = load.warm_up + load.seconds + _MORE_SECONDS
    with tempfile.TemporaryDirectory(prefix="billing-bench-") as directory:
        result = Path(directory) / "answered.json"
        try:
            done = subprocess.run(
                [*command, str(result)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise LoadError(f"the load generator did not end within {seconds:g} s") from late
        if done.returncode != 0:
            raise LoadError(f"the load generator failed:\n{done.stderr[-2_000:]}")
        answered = Answered(**json.loads(result.read_text("utf-8")))
    if set(answered.statuses) != {status}:
        raise LoadError(f"answers by status: {answered.statuses}")
    return answered
