"""What the spool takes of the disk: the figures of the runbook and of the chart's volume."""

import asyncio
import os
import statistics
from pathlib import Path

import pytest

from producer_gateway import journal
from producer_gateway.records import Envelope, Preparer
from producer_gateway.spool import Spool
from producer_gateway.store import Record
from schemas.topics import load_topics
from tests.inputs.captures import CAPTURES

BOUND = 8 * 1024 * 1024
BATCH = 50
ALLOWANCE = 600
"""Bytes that the runbook adds to each callback."""
ENVELOPE = Envelope("litellm", "application/json", f"00-{'a' * 32}-{'b' * 16}-01")


def test_a_callback_is_charged_its_bytes_and_not_much_more() -> None:
    preparer = Preparer(load_topics(""), drop_content=False)
    records = [
        record
        for capture in sorted(CAPTURES.glob("*.json"))
        for record in preparer.prepare(capture.read_bytes(), ENVELOPE).records
    ]
    beyond = [journal.size(record) - len(record.value) for record in records]
    assert ALLOWANCE * 0.8 < statistics.median(beyond) < ALLOWANCE


@pytest.mark.parametrize(
    ("value_bytes", "times"),
    [(500, 2.0), (1_200, 2.0), (1_800, 2.0), (2_500, 1.4), (4_000, 1.4), (6_000, 1.4), (14_000, 1)],
)
def test_the_full_spools_file_stays_below_what_its_disk_must_hold(
    tmp_path: Path, value_bytes: int, times: float
) -> None:
    headers = [("header", b"x" * 150)]

    async def fill() -> int:
        spool = Spool(tmp_path, BOUND)
        charged, number = spool.bytes, 0
        while True:
            records = [
                Record("billing.callbacks.v1", b"run-%08d" % n, os.urandom(value_bytes), headers)
                for n in range(number, number + BATCH)
            ]
            if spool.bytes + sum(map(journal.size, records)) > BOUND:
                break
            await spool.append(records)
            charged, number = spool.bytes, number + BATCH
        await spool.close(30)
        return charged

    charged = asyncio.run(fill())
    assert charged > 0.9 * BOUND
    assert (tmp_path / journal.FILE_NAME).stat().st_size < times * charged
