"""A spool's files as a bad disk leaves them."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from producer_gateway import damage, salvage
from producer_gateway.adoption import Adoption
from producer_gateway.journal import FILE_NAME
from producer_gateway.metrics import Metrics
from producer_gateway.spool import Spool
from producer_gateway.store import Record

ROOM = 100_000_000
PAGE = 4096


def filled(directory: Path, records: Sequence[Record], *, killed: bool) -> None:
    """Leave a spool that holds `records`, each with a commit of its own.

    Args:
        directory: of the spool.
        records: in their order.
        killed: the process that wrote it has ended without a word, so the log is still there.
    """

    async def fill(place: Path) -> None:
        spool = Spool(place, ROOM)
        for record in records:
            await spool.append([record])
        if killed:
            shutil.copytree(place, directory)
        await spool.close(30)

    place = directory.with_name(f"{directory.name}-made") if killed else directory
    asyncio.run(fill(place))


class Disk:
    """The files of a spool, and what can happen to them."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME
        self.log = directory / f"{FILE_NAME}-wal"

    def flip(self, file: Path, bit: int) -> None:
        """Turn one bit over."""
        content = bytearray(file.read_bytes())
        content[bit // 8 % len(content)] ^= 1 << bit % 8
        file.write_bytes(content)

    def zero(self, file: Path, page: int) -> None:
        """Fill a page with zeros."""
        content = bytearray(file.read_bytes())
        at = page % max(1, len(content) // PAGE) * PAGE
        content[at : at + PAGE] = bytes(len(content[at : at + PAGE]))
        file.write_bytes(content)

    def cut(self, file: Path, size: int) -> None:
        """Leave only the first bytes."""
        os.truncate(file, size % file.stat().st_size)


class Life:
    """What came out of a spool, and what was said on the way."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.drained = list[Record]()
        self.files = 0

    def count(self, name: str) -> float:
        """The value of a metric."""
        return self.metrics.registry.get_sample_value(f"billing_gateway_spool_{name}") or 0.0

    @property
    def alarmed(self) -> bool:
        """Whether anything said that not all is as it was."""
        return bool(
            self.files or self.count("damaged_records_total") or self.count("missing_records_total")
        )


async def drain(spool: Spool) -> list[Record]:
    """Take everything out, as the drain does."""
    found = list[Record]()
    while spool.records:
        batch = await spool.read(100, ROOM)
        found += [record for _, record in batch]
        if batch:
            await spool.remove(batch)
    return found


def opened_and_drained(directory: Path, *, salvaged: bool = False) -> Life:
    """Open the spool, drain it, take a new record and drain that; `salvaged`: then the command."""

    async def live() -> Life:
        life = Life()
        spool = Spool(directory, ROOM)
        life.metrics.watch(spool)
        life.drained += await drain(spool)
        after = Record("topic", b"after", b"after", [])
        await spool.append([after])
        assert await drain(spool) == [after]
        life.files = len(damage.damaged_files(spool.path))
        if salvaged:
            for file in damage.damaged_files(spool.path):
                salvage.salvage(file, spool.path)
            await Adoption(spool, life.metrics).step()
            life.drained += await drain(spool)
            assert not damage.damaged_files(spool.path)
        await spool.close(30)
        return life

    return asyncio.run(live())
