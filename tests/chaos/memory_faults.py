"""Memory: a backlog of calls whose content compresses to nearly nothing."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.chaos.books import Fate
from tests.chaos.fault import Fault
from tests.chaos.fleet import ROOT, Fleet
from tests.waiting import eventually

VALUES: Final = ROOT / "charts" / "billing-stream" / "values.yaml"
GIANT_BYTES: Final = 10_000_000
GIANTS: Final = (100, 200)
TAKEN_SECONDS: Final = 180.0


def limit_bytes(room: str, values: Path = VALUES) -> int:
    """What the chart gives a process of a room."""
    found: dict[str, Any] = yaml.safe_load(values.read_text())
    limit = found[room]["resources"]["limits"]["memory"]
    return int(limit.removesuffix("Gi")) * 2**30


def backlog_of_giants(fleet: Fleet, chance: random.Random) -> None:
    """No member is there while the gateway takes them; then all of them come at once."""
    for member in fleet.members:
        member.stop()
    sender = fleet.sender
    giants = [
        sender.books.make(Fate.RECEIPT, content_bytes=GIANT_BYTES)
        for _ in range(chance.randint(*GIANTS))
    ]
    for giant in giants:
        sender.post_until_taken([giant], TAKEN_SECONDS)
    for member in fleet.members:
        member.start()
    eventually(
        lambda: fleet.receipts_of([giant.response_id for giant in giants]) == len(giants),
        "the receipts of the giants",
        TAKEN_SECONDS,
    )
    for process in (fleet.gateway, *fleet.members):
        peak, limit = process.peak_bytes, limit_bytes(process.room)
        said = f"{process.name} had at most {peak / 2**20:.0f} of {limit / 2**20:.0f} MiB"
        print(said, flush=True)
        assert peak < limit, said


MEMORY_FAULTS: Final[Mapping[str, Fault]] = {
    "backlog of giants that compress": Fault(backlog_of_giants),
}
