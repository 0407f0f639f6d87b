"""The run directory: what is private, what survives, who holds it."""

import fcntl
import stat
import threading
from pathlib import Path

import pytest

from demo.state import (
    AlreadyRunningError,
    RunDirectory,
    ServiceState,
    StackState,
    UnusableDirectoryError,
)


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "deep" / "run")
    directory.create()
    return directory


def test_only_its_owner_can_enter_and_read(directory: RunDirectory) -> None:
    directory.write_environment({"BILLING_INGEST_TOKEN": "secret"})
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.environment_file.stat().st_mode) == 0o600


def test_an_existing_directory_is_closed_to_others(tmp_path: Path) -> None:
    open_directory = tmp_path / "open"
    open_directory.mkdir(mode=0o755)
    RunDirectory(open_directory).create()
    assert stat.S_IMODE(open_directory.stat().st_mode) == 0o700


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnusableDirectoryError, match="choose one that you may write to"):
        RunDirectory(tmp_path / "file" / "run").create()


def test_the_environment_is_read_as_it_was_written(directory: RunDirectory) -> None:
    values = {"DATABASE_URL": "postgresql://u:p@h/d?sslmode=disable", "GATEWAY_URL": "http://h:1"}
    directory.write_environment(values)
    assert directory.read_environment() == values
    assert directory.environment_file.read_text().splitlines()[1] == "GATEWAY_URL=http://h:1"


def test_the_state_is_read_as_it_was_written(directory: RunDirectory) -> None:
    assert directory.read_state() is None
    row = ServiceState(name="kafka", phase="ready", pid=1, born=2.5)
    state = StackState(phase="ready", pid=3, services=[row], scratch=["/somewhere"])
    directory.write_state(state)
    assert directory.read_state() == state


def test_a_crash_is_told_and_no_death_that_was_wanted() -> None:
    ends = {"gateway": None, "topics": 0, "consumer": 1, "kafka": -9, "litellm": -11}
    rows = [ServiceState(name=name, exit_code=code) for name, code in ends.items()]
    crashes = StackState(phase="ready", pid=1, services=rows).crashes()
    assert crashes == ["litellm ended with exit code -11 (SIGSEGV)"]


def test_it_is_held_by_one_at_a_time(directory: RunDirectory) -> None:
    assert not directory.is_held()
    with directory.hold():
        assert directory.is_held()
        with pytest.raises(AlreadyRunningError, match="already runs"), directory.hold():
            pytest.fail("held twice")
    assert not directory.is_held()


def test_looking_does_not_keep_a_supervisor_out(directory: RunDirectory) -> None:
    with directory.hold():
        pass
    with (directory.path / "lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)  # what `is_held` does, for longer than it does
        release = threading.Timer(0.2, fcntl.flock, (looking, fcntl.LOCK_UN))
        release.start()
        with directory.hold():
            assert directory.is_held()
        release.join()
