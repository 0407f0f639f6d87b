"""Commands of the project as the demo runs them."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from demo.process import StackError
from demo.settings import ROOT

_SECONDS: Final = 120


def run(
    module: str, *arguments: str, environment: Mapping[str, str], codes: tuple[int, ...] = (0,)
) -> str:
    """Run `python -m module` with this environment alone and return what it printed.

    Raises `StackError` where its exit code is none of `codes`.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=dict(environment),
        check=False,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    if done.returncode not in codes:
        raise StackError(f"{module} {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
