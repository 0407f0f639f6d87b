"""What `down` may delete: a spool in which nothing waits, as the gateway writes it."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from demo import spool
from producer_gateway import journal
from producer_gateway.spool import Spool
from producer_gateway.store import Record

BOUND = 1024 * 1024


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def fill(directory: Path, records: int, *, set_aside: int = 0) -> None:
    """Spool some records as the gateway does, and end it."""

    async def run() -> None:
        gateway = Spool(directory, BOUND)
        await gateway.append([Record("callbacks", b"run", b"x" * 1_000, [])] * records)
        for spooled in await gateway.read(set_aside, BOUND):
            await gateway.refuse(spooled, "too large")
        await gateway.close(10)

    asyncio.run(run())


def test_where_no_gateway_has_been_nothing_waits(directory: Path) -> None:
    assert spool.waiting(directory) == ""
    spool.remove(directory)


def test_an_empty_spool_goes(directory: Path) -> None:
    fill(directory, 0)
    assert (directory / journal.FILE_NAME).exists()
    spool.remove(directory)
    assert not directory.exists()


@pytest.mark.parametrize("set_aside", [0, 3])
def test_a_spool_in_which_something_waits_stays(directory: Path, set_aside: int) -> None:
    fill(directory, 3, set_aside=set_aside)
    assert spool.waiting(directory).startswith("3 record(s), 3,")
    spool.remove(directory)
    assert spool.waiting(directory)


def test_a_spool_that_cannot_be_read_stays(directory: Path) -> None:
    directory.mkdir()
    (directory / journal.FILE_NAME).write_bytes(b"no database" * 100)
    assert "cannot be read" in spool.waiting(directory)
    spool.remove(directory)
    assert directory.exists()


def test_the_spool_of_a_gateway_that_runs_stays(directory: Path) -> None:
    with closing(journal.opened(directory / journal.FILE_NAME)):
        assert "cannot be read" in spool.waiting(directory)
        spool.remove(directory)
        assert directory.exists()


@pytest.mark.parametrize("name", ["damaged-20261126T120000Z", "incoming-damaged-20261126T120000Z"])
def test_what_a_bad_disk_has_left_stays(directory: Path, name: str) -> None:
    fill(directory, 0)
    (directory / f"{journal.FILE_NAME}.{name}").write_bytes(b"damaged")
    assert "1 file(s) that were damaged" in spool.waiting(directory)
    spool.remove(directory)
    assert directory.exists()
