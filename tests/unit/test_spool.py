"""The spool keeps what it took, in order, within its bounds, over crashes and full disks."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from producer_gateway import journal
from producer_gateway.journal import FILE_NAME, SpoolError
from producer_gateway.spool import Spool
from producer_gateway.store import NotStoredError, Record
from tests.waiting import NET_SECONDS

ROOM = 1_000_000
CRASH = """
import asyncio, os, sys
from pathlib import Path
from producer_gateway.spool import Spool
from producer_gateway.store import Record

async def main():
    spool = Spool(Path(sys.argv[1]), 1_000_000)
    for number in range(50):
        await spool.append([Record("t", b"run", b"%d" % number, [("h", b"v")])])
    os.kill(os.getpid(), 9)

asyncio.run(main())
"""


def record(value: bytes = b"v", key: bytes = b"run") -> Record:
    """A record."""
    return Record("topic", key, value, [("source", b"litellm"), ("text", b"\xff\x00")])


def numbered(count: int) -> list[Record]:
    """So many records, whose values are their numbers."""
    return [record(b"%d" % number) for number in range(count)]


def with_spool(
    directory: Path, use: Callable[[Spool], Awaitable[None]], max_bytes: int = ROOM
) -> None:
    """Open a spool, use it, close it."""

    async def run() -> None:
        spool = Spool(directory, max_bytes)
        try:
            await asyncio.wait_for(use(spool), NET_SECONDS)
        finally:
            await spool.close(10)

    asyncio.run(run())


def state(spool: Spool) -> tuple[int, int, dict[bytes, int], str | None]:
    """What it counts, and its trouble."""
    return spool.records, spool.bytes, dict(spool.keys), spool.trouble


async def values(spool: Spool) -> list[bytes]:
    """The values of all that waits."""
    return [spooled.record.value for spooled in await spool.read(100_000, ROOM)]


def test_what_was_taken_comes_back_whole_and_in_order_after_a_restart(tmp_path: Path) -> None:
    async def write(spool: Spool) -> None:
        await spool.append([record(b"first"), record(b"\x00\xff", b"")])
        await spool.append([record(b"", b"other")])

    async def read(spool: Spool) -> None:
        found = [spooled.record for spooled in await spool.read(10, ROOM)]
        assert found == [record(b"first"), record(b"\x00\xff", b""), record(b"", b"other")]
        assert spool.keys == {b"run": 1, b"": 1, b"other": 1}
        assert spool.records == 3
        assert spool.age_s() > 0
        assert spool.filled.is_set()

    with_spool(tmp_path / "new" / "spool", write)
    with_spool(tmp_path / "new" / "spool", read)


def test_what_was_taken_survives_sigkill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CRASH, str(tmp_path)]
    assert subprocess.run(command, check=False, timeout=NET_SECONDS).returncode == -9

    async def read(spool: Spool) -> None:
        assert await values(spool) == [b"%d" % number for number in range(50)]

    with_spool(tmp_path, read)


def test_it_takes_no_more_than_its_bound_and_all_or_none(tmp_path: Path) -> None:
    async def fill(spool: Spool) -> None:
        await spool.append([record(b"x" * 4_000)])
        before = state(spool)
        with pytest.raises(NotStoredError) as full:
            await spool.append([record(b"small"), record(b"y" * 8_000)])
        assert full.value.reason == "spool_full"
        assert state(spool) == (*before[:3], "full")
        assert await values(spool) == [b"x" * 4_000]
        await spool.remove(await spool.read(10, ROOM))
        assert state(spool) == (0, 0, {}, None)
        await spool.append([record(b"y" * 8_000)])

    with_spool(tmp_path, fill, max_bytes=10_000)


def test_the_bound_counts_what_was_left_by_a_former_process(tmp_path: Path) -> None:
    sizes: list[int] = []

    async def fill(spool: Spool) -> None:
        await spool.append([record(b"x" * 4_000), record(b"y" * 400, b"other")])
        sizes.append(spool.bytes)

    async def again(spool: Spool) -> None:
        sizes.append(spool.bytes)
        with pytest.raises(NotStoredError):
            await spool.append([record(b"x" * 6_000)])

    with_spool(tmp_path, fill, max_bytes=10_000)
    with_spool(tmp_path, again, max_bytes=10_000)
    assert sizes[0] == sizes[1] > 4_400


def test_requests_that_arrive_together_share_a_commit(tmp_path: Path) -> None:
    async def burst(spool: Spool) -> None:
        await spool.append([record()])
        begun: list[str] = []
        spool._connection.set_trace_callback(begun.append)  # noqa: SLF001 - counts transactions
        await asyncio.gather(*(spool.append([one]) for one in numbered(200)))
        assert 1 <= sum("COMMIT" in statement for statement in begun) < 40
        assert (await values(spool))[1:] == [b"%d" % number for number in range(200)]

    with_spool(tmp_path, burst)


def test_a_commit_is_on_the_disk(tmp_path: Path) -> None:
    async def look(spool: Spool) -> None:
        ask = spool._connection.execute  # noqa: SLF001 - asks SQLite
        assert ask("PRAGMA synchronous").fetchone() == (2,)
        assert ask("PRAGMA journal_mode").fetchone() == ("wal",)

    with_spool(tmp_path, look)


def test_two_processes_cannot_share_it(tmp_path: Path) -> None:
    async def open_again(spool: Spool) -> None:
        await spool.append([record()])
        command = [sys.executable, "-c", CRASH, str(tmp_path)]
        other = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, said = await other.communicate()
        assert other.returncode == 1
        assert b"another process uses it" in said
        assert await values(spool) == [b"v"]

    with_spool(tmp_path, open_again)


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("no directory")

    async def run() -> None:
        Spool(tmp_path / "spool", ROOM)

    with pytest.raises(SpoolError, match="cannot open the spool"):
        asyncio.run(run())


def test_a_full_disk_refuses_whole_requests_and_heals(tmp_path: Path) -> None:
    async def fill(spool: Spool) -> None:
        await spool.append(numbered(10))
        limit = spool._connection  # noqa: SLF001 - SQLite's own "disk is full"
        (pages,) = limit.execute("PRAGMA page_count").fetchone()
        limit.execute(f"PRAGMA max_page_count={pages + 2}")
        small, large = record(b"small"), record(b"x" * 100_000)
        outcomes = await asyncio.gather(
            spool.append([small]), spool.append([small, large]), return_exceptions=True
        )
        assert outcomes[0] is None
        assert isinstance(outcomes[1], NotStoredError)
        assert outcomes[1].reason == "spool_failed"
        assert "full" in str(state(spool)[3])
        assert spool.records == 11
        assert len(await values(spool)) == 11
        limit.execute("PRAGMA max_page_count=1000000")
        await spool.check()
        assert state(spool)[3] is None
        await spool.append([large])
        assert spool.records == 12

    with_spool(tmp_path, fill)


def test_what_kafka_refuses_is_kept_aside_and_back_after_a_restart(tmp_path: Path) -> None:
    async def refuse(spool: Spool) -> None:
        await spool.append([*numbered(2), record(b"other", b"other")])
        bytes_before = spool.bytes
        await spool.refuse((await spool.read(1, ROOM))[0], "too large")
        assert await values(spool) == [b"1", b"other"]
        assert (spool.records, spool.set_aside, spool.bytes) == (2, 1, bytes_before)
        assert spool.keys == {b"run": 1, b"other": 1}

    async def back(spool: Spool) -> None:
        assert await values(spool) == [b"0", b"1", b"other"]
        assert spool.records == 3

    with_spool(tmp_path, refuse)
    with_spool(tmp_path, back)


def test_a_batch_is_bounded_by_records_and_bytes_but_holds_one(tmp_path: Path) -> None:
    async def read(spool: Spool) -> None:
        await spool.append([*numbered(5), record(b"x" * 1_000), record(b"y" * 1_000)])
        assert len(await spool.read(3, ROOM)) == 3
        assert len(await spool.read(10, 1_000)) == 6
        assert len(await spool.read(10, 1)) == 1

    with_spool(tmp_path, read)


def test_the_file_can_be_read_when_the_process_is_gone(tmp_path: Path) -> None:
    async def write(spool: Spool) -> None:
        await spool.append(numbered(3))

    with_spool(tmp_path, write)
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute("SELECT count(*) FROM records").fetchone() == (3,)
    connection.close()


def test_no_cursor_leaves_the_writing_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Freed in another thread, a cursor resets a statement in use: "API misuse", a 503."""
    outcomes: list[object] = []
    together = journal.together

    def watched(connection: sqlite3.Connection, works: list[journal.Work]) -> list[object] | None:
        found = together(connection, works)
        outcomes.extend(found or [])
        return found

    monkeypatch.setattr(journal, "together", watched)

    async def use(spool: Spool) -> None:
        await spool.append(numbered(3))
        first, *others = await spool.read(3, ROOM)
        await spool.refuse(first, "because")
        await spool.remove(others)
        spool.trouble = "the disk"
        await spool.check()

    with_spool(tmp_path, use)
    assert len(outcomes) == 5
    assert not any(isinstance(outcome, sqlite3.Cursor) for outcome in outcomes)


def test_the_spool_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It holds prompts and answers."""

    async def use(spool: Spool) -> None:
        await spool.append(numbered(1))
        assert set(await asyncio.to_thread(modes, tmp_path)) == {0o600}

    with_spool(tmp_path, use)


def modes(directory: Path) -> list[int]:
    """The permissions of a directory's files."""
    return [file.stat().st_mode & 0o777 for file in directory.iterdir()]
