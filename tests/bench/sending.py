"""Starting the load generator and reading what it says."""

import json
import subprocess
import sys
from dataclasses import asdict

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
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise LoadError(f"the load generator did not end within {seconds:g} s") from late
    if done.returncode != 0:
        raise LoadError(f"the load generator failed:\n{done.stderr[-2_000:]}")
    answered = Answered(**json.loads(done.stdout))
    if set(answered.statuses) != {status}:
        raise LoadError(f"answers by status: {answered.statuses}")
    return answered
