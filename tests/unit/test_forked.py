"""A process that a fork server makes is as one that an interpreter starts, and knows no other."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.processes import forked
from tests.processes.forked import ROOT
from tests.waiting import NET_SECONDS, eventually

pytestmark = pytest.mark.skipif(not forked.ON_LINUX, reason="there are no fork servers")
PR_GET_CHILD_SUBREAPER = 37
BARE = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("BILLING_", "CONSUMER_", "KAFKA_", "DATABASE_"))
}
NOWHERE = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["operator_cli", "--version"], 0),
        (["operator_cli", "explain", "--help"], 0),
        (["operator_cli", "report", "--limit", "0"], 2),
        (["operator_cli", "report"], 2),
        (["operator_cli", "spool", "list", "--dir", "/nowhere", "--csv"], 2),
    ],
    ids=str,
)
def test_code_output_and_errors_are_those_of_a_started_interpreter(
    arguments: list[str], code: int
) -> None:
    made = forked.run(arguments, BARE)
    usual = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=BARE,
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
    )
    assert made.returncode == usual.returncode == code
    assert (made.stdout, made.stderr) == (usual.stdout, usual.stderr)


def test_a_process_has_the_environment_that_it_is_given_and_no_other() -> None:
    given = forked.run(["operator_cli", "report"], {**BARE, "DATABASE_URL": "postgresql://h:x/d"})
    assert "a port that is no number" in given.stderr
    assert "DATABASE_URL must be set" not in given.stderr
    assert "DATABASE_URL must be set" in forked.run(["operator_cli", "report"], BARE).stderr


def test_a_process_is_a_child_of_the_tests_and_ends_by_the_signal_that_it_gets() -> None:
    with tempfile.TemporaryFile() as log:
        process = forked.start(
            ["operator_cli", "topics"], environment={**BARE, **NOWHERE}, stdout=log
        )
        assert process.poll() is None
        assert psutil.Process(process.pid).ppid() == os.getpid()
        process.send_signal(signal.SIGSTOP)
        stopped = psutil.Process(process.pid)
        eventually(lambda: stopped.status() == psutil.STATUS_STOPPED, "the process to stop")
        # Of the fork server and of its other children it holds nothing open.
        files = [file for file in Path(f"/proc/{process.pid}/fd").iterdir() if int(file.name) < 3]
        assert len(files) == 3
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.kill()
        assert process.wait(NET_SECONDS) == -signal.SIGKILL
        process.kill()
        assert process.returncode == -signal.SIGKILL


def test_threads_may_start_processes_at_once() -> None:
    def version(_: int) -> int:
        return forked.run(["operator_cli", "--version"], BARE).returncode

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(version, range(24))) == [0] * 24


def test_orphans_of_other_programs_are_not_given_to_the_tests() -> None:
    forked.run(["operator_cli", "--version"], BARE)
    found = ctypes.c_int(-1)
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(found), 0, 0, 0)
    assert found.value == 0
