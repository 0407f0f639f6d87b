"""Resets: what is told where the client has found no valid offset of the group."""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from consumer import metrics
from consumer.start import Place, Start

log = structlog.get_logger("consumer")

_HARMLESS: Final = ("committed", "first_time", "remembered")


def tell(found: Mapping[Place, Start], why: Sequence[str]) -> None:
    """Say and count where partitions are read on, and why; `why` in the client's words."""
    for reset in sorted({chosen.reset for chosen in found.values()}):
        there = {place: chosen for place, chosen in found.items() if chosen.reset == reset}
        metrics.OFFSET_RESETS.labels(reset).inc(len(there))
        expired = sum(chosen.expired for chosen in there.values())
        level = log.info if reset in _HARMLESS and not expired else log.error
        reads_on = {f"{topic}/{part}": chosen.offset for (topic, part), chosen in there.items()}
        level(
            "the group has no valid offset",
            reset=reset,
            reads_on=reads_on,
            expired=expired,
            client=why,
        )
