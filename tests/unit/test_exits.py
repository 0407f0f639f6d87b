"""How a process ends: with its own code, and past the exit handlers of C libraries."""

import os
import signal
import subprocess
import sys

import pytest

from tests.waiting import NET_SECONDS

ABORTS_AT_EXIT = """
import ctypes
libc = ctypes.CDLL(None)
libc.__cxa_atexit(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)
"""
"""A C library's exit handler under which something crashes."""
ENDS = """
import atexit, sys
from runtime.exits import exit_after
atexit.register(print, "at exit")
def run():
    print("out")
    print("err", file=sys.stderr)
    {what}
exit_after(run)
"""


def ended(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("pass", 0),
        ("sys.exit()", 0),
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("raise SystemExit('why')", 1),
        ("raise ValueError('why')", 1),
        ("raise KeyboardInterrupt", 130),
    ],
)
def test_a_process_ends_with_its_code_and_all_that_it_printed(what: str, code: int) -> None:
    done = ended(ABORTS_AT_EXIT + ENDS.format(what=what))
    assert done.returncode == code
    assert done.stdout == "out\nat exit\n"
    assert done.stderr.startswith("err\n")
    assert ("why" in done.stderr) == ("why" in what)


def test_the_interpreter_itself_runs_the_handlers_of_c() -> None:
    """What the others stand on: without it they would prove nothing."""
    assert ended(ABORTS_AT_EXIT).returncode == -signal.SIGABRT


def test_what_nobody_reads_any_more_is_a_code_of_its_own() -> None:
    code = ENDS.format(what="import os; os.close(1)")
    assert ended(code).returncode == 120
    assert ended(code.replace("os.close(1)", "os.close(1); sys.exit(2)")).returncode == 2


@pytest.mark.parametrize(
    "room", ["producer_gateway", "consumer", "spend_guard", "reconciler", "operator_cli"]
)
def test_every_room_ends_so(room: str) -> None:
    code = f"import runpy, sys; sys.argv = ['{room}', '--help']\n"
    code += f"runpy.run_module('{room}', run_name='__main__', alter_sys=True)"
    done = ended(ABORTS_AT_EXIT + code)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
