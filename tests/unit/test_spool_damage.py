"""A disk that damages the spool stops nothing, changes no record, and loses none in silence."""

import asyncio
import json
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from producer_gateway import damage, salvage
from producer_gateway.__main__ import cli
from producer_gateway.adoption import Adoption
from producer_gateway.journal import FILE_NAME
from producer_gateway.metrics import Metrics
from producer_gateway.spool import Spool
from producer_gateway.store import NotStoredError, Record
from tests.inputs.damage import PAGE, ROOM, Disk, drain, filled, opened_and_drained

HEADERS = [("source", b"litellm"), ("call-key", b"key")]
RECORDS = [
    Record("topic", b"run-%d" % (n % 3), b"%d:" % n + b"x" * (n % 7 * 1_300), HEADERS)
    for n in range(60)
]
EACH = [tuple(map(str, record)) for record in RECORDS]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool whose process was stopped."""
    directory = tmp_path_factory.mktemp("stopped") / "spool"
    filled(directory, RECORDS, killed=False)
    return directory


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool whose process was killed: everything is in its log."""
    directory = tmp_path_factory.mktemp("killed") / "spool"
    filled(directory, RECORDS, killed=True)
    return directory


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, stopped: Path) -> Path:
    """One that was killed when half of its records had been moved from the log to the file."""
    directory = tmp_path_factory.mktemp("both") / "spool"
    made = directory.with_name("spool-made")
    shutil.copytree(stopped, made)

    async def more() -> None:
        spool = Spool(made, ROOM)
        await spool.remove(await spool.read(30, ROOM))
        for record in RECORDS[:30]:
            await spool.append([record])
        shutil.copytree(made, directory)
        await spool.close(30)

    asyncio.run(more())
    return directory


def identities(records: list[Record]) -> set[tuple[str, ...]]:
    """Records that can be compared and hashed."""
    return {tuple(map(str, record)) for record in records}


DAMAGE = st.tuples(
    st.sampled_from(["flip", "zero", "cut", "flip head"]), st.booleans(), st.integers(0, 10**7)
)


def hurt(disk: Disk, kind: str, which: bool, place: int) -> bool:  # noqa: FBT001 - drawn
    """Do one thing to one of the files; return whether it looks like a crash in mid-write."""
    file = disk.log if which and disk.log.exists() else disk.path
    size = file.stat().st_size
    at = {"flip": place // 8, "zero": place * PAGE, "cut": size, "flip head": 0}[kind]
    if kind == "flip":
        disk.flip(file, place)
    elif kind == "flip head":
        disk.flip(file, place % 800)
    elif kind == "zero":
        disk.zero(file, place)
    else:
        disk.cut(file, place)
    return file == disk.log and (kind == "cut" or at % max(1, size) >= size - 4 * PAGE)


@pytest.mark.parametrize("state", ["stopped", "killed", "both"])
@settings(max_examples=60)
@given(st.lists(DAMAGE, min_size=1, max_size=2))
def test_nothing_is_changed_and_nothing_is_lost_in_silence(
    request: pytest.FixtureRequest, state: str, done: list[tuple[str, bool, int]]
) -> None:
    source: Path = request.getfixturevalue(state)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "spool"
        shutil.copytree(source, directory)
        torn = [hurt(Disk(directory), *one) for one in done]
        life = opened_and_drained(directory, salvaged=True)
    assert identities(life.drained) <= set(EACH), "a record that nobody has sent"
    if not life.alarmed and not any(torn):
        assert identities(life.drained) == set(EACH), "lost without a word"


@pytest.mark.parametrize("byte", range(100))
def test_a_bit_of_any_byte_of_the_head(stopped: Path, tmp_path: Path, byte: int) -> None:
    directory = tmp_path / "spool"
    shutil.copytree(stopped, directory)
    Disk(directory).flip(directory / FILE_NAME, 8 * byte + byte % 8)
    life = opened_and_drained(directory, salvaged=True)
    assert identities(life.drained) == set(EACH)


@pytest.mark.parametrize("page", range(40))
def test_any_zeroed_page_is_seen_and_costs_no_more_than_its_records(
    stopped: Path, tmp_path: Path, page: int
) -> None:
    directory = tmp_path / "spool"
    shutil.copytree(stopped, directory)
    Disk(directory).zero(directory / FILE_NAME, page)
    life = opened_and_drained(directory, salvaged=True)
    assert identities(life.drained) <= set(EACH)
    assert life.alarmed
    assert len(identities(life.drained)) >= len(EACH) - 25


@pytest.mark.parametrize("state", ["stopped", "killed", "both"])
def test_what_is_whole_drains_as_it_was_and_alarms_nobody(
    request: pytest.FixtureRequest, tmp_path: Path, state: str
) -> None:
    shutil.copytree(request.getfixturevalue(state), tmp_path / "spool")
    life = opened_and_drained(tmp_path / "spool")
    assert Counter(map(str, life.drained)) == Counter(map(str, RECORDS))
    assert not life.alarmed


@pytest.mark.parametrize("size", [0, 1, 99, PAGE, PAGE * 3 + 7, PAGE * 20])
def test_a_file_that_was_cut_is_seen(stopped: Path, tmp_path: Path, size: int) -> None:
    shutil.copytree(stopped, tmp_path / "spool")
    Disk(tmp_path / "spool").cut(tmp_path / "spool" / FILE_NAME, size)
    assert opened_and_drained(tmp_path / "spool").files == 1


def test_a_page_that_says_it_holds_fewer_rows_hides_none(stopped: Path, tmp_path: Path) -> None:
    shutil.copytree(stopped, tmp_path / "spool")
    path = tmp_path / "spool" / FILE_NAME
    content = bytearray(path.read_bytes())
    leaves = [at for at in range(PAGE, len(content), PAGE) if content[at] == 13]
    at = next(at for at in leaves if content[at + 4] > 1)
    content[at + 4] -= 1
    path.write_bytes(content)
    assert opened_and_drained(tmp_path / "spool").alarmed


def test_a_bit_in_the_middle_of_the_log_does_not_end_it_in_silence(
    killed: Path, tmp_path: Path
) -> None:
    """SQLite would take it for the end of what was written."""
    shutil.copytree(killed, tmp_path / "spool")
    disk = Disk(tmp_path / "spool")
    disk.flip(disk.log, 8 * (32 + 30 * (24 + PAGE)))
    life = opened_and_drained(tmp_path / "spool", salvaged=True)
    assert life.files == 1
    assert len(identities(life.drained)) >= len(EACH) - 1


def test_a_log_whose_last_transaction_is_torn_is_no_damage(killed: Path, tmp_path: Path) -> None:
    shutil.copytree(killed, tmp_path / "spool")
    disk = Disk(tmp_path / "spool")
    disk.cut(disk.log, disk.log.stat().st_size - 100)
    life = opened_and_drained(tmp_path / "spool")
    assert not life.alarmed
    assert identities(life.drained) == set(EACH[:-1])


def test_one_flipped_bit_of_a_value_is_never_sent(stopped: Path, tmp_path: Path) -> None:
    """Issue 12: 0.923456 was charged for 0.123456."""
    shutil.copytree(stopped, tmp_path / "spool")
    path = tmp_path / "spool" / FILE_NAME
    content = path.read_bytes()
    for number in (13, 23):
        content = content.replace(b"%d:" % number + b"x" * 100, b"%d;" % number + b"x" * 100)
    path.write_bytes(content)
    life = opened_and_drained(tmp_path / "spool")
    assert identities(life.drained) == set(EACH) - {EACH[13], EACH[23]}
    assert life.count("damaged_records_total") == 2
    assert life.files == 1
    (file,) = damage.damaged_files(path)
    bad = salvage.examine(file).bad
    assert [(one.run, one.call) for one in bad] == [("run-1", "key"), ("run-2", "key")]
    assert {one.why for one in bad} == {"the checksum does not fit"}


def test_damage_while_it_runs_sets_the_file_aside_and_refuses_nobody(tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    old, new = RECORDS[:30], RECORDS[30:]

    async def run() -> None:
        spool = Spool(directory, ROOM)
        for record in old:
            await spool.append([record])
        read = await spool.read(5, ROOM)
        spool._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # noqa: SLF001 - onto the disk
        spool._connection.execute("PRAGMA cache_size=0")  # noqa: SLF001 - so that it looks there
        disk, path = Disk(directory), directory / FILE_NAME
        for page in range(1, path.stat().st_size // PAGE):
            disk.zero(path, page)
        await asyncio.gather(*(spool.append([record]) for record in new))
        found = await drain(spool)
        assert [record for record in found if record not in old] == new
        # What was read of the former file means no record of this one.
        await spool.append(new[:5])
        await spool.remove(read)
        assert (await drain(spool)) == new[:5]
        assert (spool.records, spool.bytes, spool.keys) == (0, 0, {})
        assert len(damage.damaged_files(path)) == 1
        await spool.close(30)

    asyncio.run(run())


def test_a_row_that_vanished_is_missed(tmp_path: Path) -> None:
    async def run() -> None:
        spool = Spool(tmp_path, ROOM)
        missed = list[int]()
        spool.on_missing = missed.append
        for record in RECORDS[:5]:
            await spool.append([record])
        spool._connection.execute("DELETE FROM records WHERE sequence = 3")  # noqa: SLF001 - a disk
        assert len(await drain(spool)) == 4
        assert missed == [1]
        assert (spool.records, spool.bytes, spool.keys) == (0, 0, {})
        await spool.close(30)

    asyncio.run(run())


OLD_TABLE = """
PRAGMA journal_mode=WAL;
CREATE TABLE records (
    sequence INTEGER PRIMARY KEY,
    stored_at REAL NOT NULL,
    refused TEXT,
    bytes INTEGER NOT NULL,
    topic TEXT NOT NULL,
    key BLOB NOT NULL,
    headers BLOB NOT NULL,
    value BLOB NOT NULL
);
"""


def of_a_former_release(directory: Path, stopped: Path) -> None:
    """A file of a release without checksums, with the records of `stopped`."""
    directory.mkdir()
    shutil.copy(stopped / FILE_NAME, directory / "copied")
    connection = sqlite3.connect(directory / FILE_NAME)
    connection.executescript(OLD_TABLE)
    connection.execute("ATTACH ? AS copied", (str(directory / "copied"),))
    columns = "sequence, stored_at, refused, bytes, topic, key, headers, value"
    connection.execute(f"INSERT INTO records SELECT {columns} FROM copied.records")  # noqa: S608
    connection.commit()
    connection.close()
    (directory / "copied").unlink()


def test_a_file_of_the_former_layout_drains_after_the_update(stopped: Path, tmp_path: Path) -> None:
    of_a_former_release(tmp_path / "spool", stopped)
    life = opened_and_drained(tmp_path / "spool")
    assert list(map(str, life.drained)) == list(map(str, RECORDS))
    assert not life.alarmed


def test_a_damaged_file_of_the_former_layout_is_salvaged(stopped: Path, tmp_path: Path) -> None:
    of_a_former_release(tmp_path / "spool", stopped)
    Disk(tmp_path / "spool").flip(tmp_path / "spool" / FILE_NAME, 3)
    life = opened_and_drained(tmp_path / "spool", salvaged=True)
    assert life.files == 1
    assert identities(life.drained) == set(EACH)


def test_a_former_release_can_use_the_file_again(stopped: Path, tmp_path: Path) -> None:
    """What it writes has no checksum, and drains."""
    shutil.copytree(stopped, tmp_path / "spool")
    connection = sqlite3.connect(tmp_path / "spool" / FILE_NAME)
    connection.execute(
        "INSERT INTO records (stored_at, bytes, topic, key, headers, value) "
        "SELECT stored_at, bytes, topic, key, headers, value FROM records WHERE sequence = 1"
    )
    connection.commit()
    connection.close()
    life = opened_and_drained(tmp_path / "spool")
    assert len(life.drained) == len(RECORDS) + 1
    assert not life.alarmed


DAMAGE_AND_OPEN = """
import sys
from pathlib import Path
from producer_gateway import journal
path = Path(sys.argv[1])
with path.open("r+b") as file:
    file.write(b"damaged")
journal.opened(path)
"""


def test_a_file_that_another_process_uses_is_not_taken_for_damaged(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME

    async def run() -> None:
        spool = Spool(tmp_path, ROOM)
        for record in RECORDS[:3]:
            await spool.append([record])
        # In the other process: to open and close the file here would end the locks on it.
        command = [sys.executable, "-c", DAMAGE_AND_OPEN, str(path)]
        other = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, said = await other.communicate()
        assert b"another process uses it" in said
        assert not await asyncio.to_thread(damage.damaged_files, path)
        assert await drain(spool) == RECORDS[:3]
        await spool.close(30)

    asyncio.run(run())


def test_what_is_salvaged_waits_for_room(stopped: Path, tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    shutil.copytree(stopped, directory)
    Disk(directory).flip(directory / FILE_NAME, 3)

    async def run() -> None:
        spool = Spool(directory, 120_000)
        (file,) = damage.damaged_files(spool.path)
        found = salvage.salvage(file, spool.path)
        assert (found.good, found.whole) == (60, True)
        await spool.append([Record("topic", b"run", b"x" * 100_000, [])])
        adoption = Adoption(spool, Metrics())
        with pytest.raises(NotStoredError):
            await adoption.step()
        assert salvage.incoming(spool.path)
        assert len(await drain(spool)) == 1
        with pytest.raises(NotStoredError):
            await adoption.step()
        await spool.close(30)

    asyncio.run(run())
    life = opened_and_drained(directory, salvaged=True)
    assert identities(life.drained) == set(EACH)


def command(*arguments: str, code: int = 0) -> str:
    """What a command says."""
    done = CliRunner().invoke(cli, ["spool", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_the_commands_show_what_is_damaged_and_bring_it_back(stopped: Path, tmp_path: Path) -> None:
    directory = tmp_path / "spool"
    shutil.copytree(stopped, directory)
    path = directory / FILE_NAME
    assert "60 records wait" in command("inspect", "--dir", str(directory))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"23:" + b"x" * 99, b"23;" + b"x" * 99))
    Disk(directory).flip(path, 3)
    assert "it cannot be read" in command("inspect", "--dir", str(directory))
    damage.set_aside(path)
    said = command("inspect", "--dir", str(directory))
    assert "59 records can be brought back" in said
    assert "place 24, run 'run-2', call 'key': the checksum does not fit" in said
    assert "xxxx" not in said
    found = json.loads(command("inspect", "--json", "--dir", str(directory)))
    ((name, counts),) = found["damaged"].items()
    assert (counts["good"], len(counts["bad"])) == (59, 1)
    said = command("salvage", "--dir", str(directory), code=1)
    assert "59 records brought back" in said
    assert "spend logs" in said
    assert not damage.damaged_files(path)
    assert (directory / name.replace("damaged", "salvaged")).exists()
    assert "the gateway takes it" in command("inspect", "--dir", str(directory))
    assert "no damaged file" in command("salvage", "--dir", str(directory))
    life = opened_and_drained(directory, salvaged=True)
    assert identities(life.drained) == set(EACH) - {EACH[23]}


def test_the_commands_name_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_SPOOL_DIR", raising=False)
    assert "GATEWAY_SPOOL_DIR" in command("inspect", code=2)
    assert "not a directory" in command("salvage", "--dir", str(tmp_path / "x"), code=2)
    assert "not a file" in command("salvage", str(tmp_path / "x"), "--dir", str(tmp_path), code=2)
    monkeypatch.setenv("GATEWAY_SPOOL_DIR", str(tmp_path))
    assert "there is no file" in command("inspect")
