"""What the workers of a run share, what is begun again, and which tests stay together."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.processes import restarts
from tests.processes.process import ServerError
from tests.processes.restarts import Notes, brought_up
from tests.session import memory
from tests.session.memory import in_memory
from tests.session.shared import Keeper, Serving, SharedError, ask
from tests.session.side_by_side import GROUPS, group_of, misplaced, place_of
from tests.waiting import NET_SECONDS, eventually

ROOT = Path(__file__).parents[2]


def serving(name: str, log: list[str]) -> Serving:
    """Something that says when it begins and ends."""

    @contextmanager
    def serve() -> Iterator[str]:
        log.append(f"{name} begins")
        yield f"address of {name}"
        log.append(f"{name} ends")

    return serve


def test_what_many_ask_for_begins_once_and_ends_with_the_run(tmp_path: Path) -> None:
    log: list[str] = []
    keeper = Keeper(tmp_path, {name: serving(name, log) for name in ("first", "second", "unasked")})
    try:
        with ThreadPoolExecutor(6) as pool:
            found = set(pool.map(lambda _: ask(tmp_path, "second"), range(6)))
        assert found == {"address of second"}
        assert ask(tmp_path, "first") == "address of first"
        assert log == ["second begins", "first begins"]
    finally:
        keeper.close()
    assert log[2:] == ["second ends", "first ends"]


def test_what_cannot_begin_says_so_to_everybody(tmp_path: Path) -> None:
    @contextmanager
    def broken() -> Iterator[str]:
        if tmp_path.exists():
            raise ServerError("no memory left")
        yield ""

    keeper = Keeper(tmp_path, {"broken": broken})
    try:
        for _ in range(2):
            with pytest.raises(SharedError, match="no memory left"):
                ask(tmp_path, "broken")
    finally:
        keeper.close()


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the restarts of this test are noted, apart from those of the run."""
    monkeypatch.setattr(Notes, "file", tmp_path / "restarts")
    return tmp_path / "restarts"


def failing(times: int) -> Callable[[], str]:
    """Fails so often before it comes up."""
    left = list(range(times))

    def begin() -> str:
        if left:
            raise ServerError(f"the JVM was late\n{left.pop()}")
        return "up"

    return begin


def test_a_part_that_is_not_ours_is_begun_again_and_told(notes: Path) -> None:
    assert brought_up("Kafka", failing(0)) == "up"
    assert restarts.told(notes) == []
    assert brought_up("Kafka", failing(2)) == "up"
    assert brought_up("PostgreSQL", failing(1)) == "up"
    assert restarts.told(notes) == [
        "begun again: Kafka, 2 x, the JVM was late 0",
        "begun again: PostgreSQL, 1 x, the JVM was late 0",
    ]


def test_the_third_failure_in_a_row_is_one(notes: Path) -> None:
    with pytest.raises(ServerError, match="the JVM was late"):
        brought_up("Kafka", failing(3))
    assert restarts.told(notes) == ["begun again: Kafka, 2 x, the JVM was late 1"]


def test_only_a_failure_to_start_is_begun_again(notes: Path) -> None:
    def ours() -> None:
        raise AssertionError("a fault of ours")

    with pytest.raises(AssertionError, match="a fault of ours"):
        brought_up("Kafka", ours)
    assert restarts.told(notes) == []


def test_every_group_has_tests() -> None:
    for start in GROUPS:
        path, _, name = start.partition("::")
        beginning = Path(ROOT, path.removesuffix(".py"))
        found = [*beginning.parent.glob(f"{beginning.name}*")]
        assert found, start
        assert not name or f"def {name}" in found[0].read_text(), start


def test_a_test_that_needs_the_whole_deployment_stays_with_the_others() -> None:
    system, alone = "tests/system/test_records.py::test_x", "tests/integration/test_new.py::test_x"
    assert group_of(system) == "deployment"
    assert group_of(alone) == ""
    assert misplaced(system, ["deployment", "calls"]) == ""
    assert "is in no group 'deployment'" in misplaced(alone, ["deployment"])
    assert "is in no group 'a broker to hurt'" in misplaced(system, ["hurt_kafka"])


FINDS_A_TEST_TWICE = """
import copy
from tests.session.side_by_side import SideBySide

def pytest_xdist_make_scheduler(config, log):
    return SideBySide(config, log)

def pytest_collection_modifyitems(items):
    items.append(copy.copy(items[0]))
"""


def test_a_run_that_would_leave_out_a_test_because_another_has_its_id_does_not_begin(
    tmp_path: Path,
) -> None:
    (tmp_path / "conftest.py").write_text(FINDS_A_TEST_TWICE)
    (tmp_path / "test_twice.py").write_text("def test_twice(): pass")
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "1", "-c", os.devnull, "--rootdir", ".", "."],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
    )
    assert said.returncode == pytest.ExitCode.USAGE_ERROR
    assert "only one test of each would be run: test_twice.py::test_twice" in said.stderr


def test_what_takes_longest_begins_first() -> None:
    ids = [
        "tests/unit/test_money.py::test_a",
        "tests/integration/test_ledger.py::test_b",
        "tests/system/test_readme.py::test_every_command",
        "tests/system/test_readme.py::test_the_demo_shows",
        "tests/integration/test_consumer_stop.py::test_c",
    ]
    assert sorted(ids, key=place_of) == ids[::-1][:1] + ids[3:1:-1] + ids[1::-1]


FREEZES = """
import signal, sys
from pathlib import Path
from tests.processes.process import Server
from tests.waiting import eventually

server = Server("a sleeper", ["sleep", "600"], Path(sys.argv[1]), orphan_signal=signal.SIGKILL)
server.start()
program = Path(f"/proc/{server.pid}/cmdline")
eventually(lambda: program.read_bytes().startswith(b"sleep"), "the sleeper")
server.suspend()
print(server.pid)
"""


@pytest.fixture
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if there were enough, whatever this machine has."""
    monkeypatch.setattr(memory, "LEAST_FREE_BYTES", 0)
    monkeypatch.setattr(memory, "LEAST_AVAILABLE_BYTES", 0)


@pytest.mark.usefixtures("_room")
def test_a_directory_in_memory_is_there_for_a_block_and_others_may_enter_it(tmp_path: Path) -> None:
    with in_memory("database", tmp_path) as made:
        assert made is not None
        assert made.parent == tmp_path
        assert made.stat().st_mode & 0o777 == 0o711
        (made / "data").touch()
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("_room")
def test_what_a_killed_run_left_in_memory_goes_and_what_others_have_there_stays(
    tmp_path: Path,
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(NET_SECONDS)
    names = {
        f"billing-stream-tests-{ended.pid}-kafka",
        f"billing-stream-tests-{os.getpid()}-kafka",
        "billing-stream-tests-x-kafka",
        "PostgreSQL.1",
    }
    for name in names:
        (tmp_path / name).mkdir()
    with in_memory("database", tmp_path):
        left = {path.name for path in tmp_path.iterdir()}
    own = f"billing-stream-tests-{os.getpid()}-database"
    assert left == names - {f"billing-stream-tests-{ended.pid}-kafka"} | {own}


@pytest.mark.parametrize("lacking", ["LEAST_FREE_BYTES", "LEAST_AVAILABLE_BYTES"])
@pytest.mark.usefixtures("_room")
def test_nothing_goes_into_memory_where_there_is_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    monkeypatch.setattr(memory, lacking, 1 << 60)
    with in_memory("database", tmp_path) as made:
        assert made is None


@pytest.mark.usefixtures("_room")
def test_nothing_goes_into_memory_that_is_not_there_or_runs_no_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_memory("database", tmp_path / "missing") as made:
        assert made is None
    monkeypatch.setattr(memory, "NO_PROGRAMS", 8)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=8))
    with in_memory("database", tmp_path) as made:
        assert made is None


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells a process of its parent's end"
)
def test_a_frozen_server_ends_with_the_tests(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", FREEZES, str(tmp_path / "log")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=NET_SECONDS,
    )
    frozen = Path("/proc", said.stdout.strip())
    assert frozen.name.isdecimal()
    eventually(lambda: not frozen.exists(), "the end of the sleeper")
