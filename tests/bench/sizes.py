"""How much is measured in a run."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Size:
    """Rounds, seconds and counts. A round is ours and its limits, one after the other."""

    name: str
    rounds: int
    seconds: float
    """Of each stretch of HTTP or producing, after a warm-up of a fifth of it."""
    warm_up_seconds: float
    """Of work for the broker before anything is measured."""
    callbacks: int
    """In each drain of the consumer."""
    committed_callbacks: int
    """Of which the CPU is counted from idle to idle."""
    single_rows: int
    """Written one transaction a row, which is slow."""
    path_rate: int
    """Callbacks a second through the whole path."""
    path_seconds: float
    memory_callbacks: int
    grown_receipts: int
    fat_callbacks: int
    binding: bool = False
    """Whether a missed target fails the run."""


SIZES: Final = {
    size.name: size
    for size in (
        Size(
            "tiny",
            rounds=1,
            seconds=1.0,
            warm_up_seconds=0.0,
            callbacks=12_000,
            committed_callbacks=8_000,
            single_rows=200,
            path_rate=100,
            path_seconds=2.0,
            memory_callbacks=4_000,
            grown_receipts=20_000,
            fat_callbacks=60,
        ),
        Size(
            "small",
            rounds=2,
            seconds=3.0,
            warm_up_seconds=20.0,
            callbacks=15_000,
            committed_callbacks=20_000,
            single_rows=1_000,
            path_rate=300,
            path_seconds=10.0,
            memory_callbacks=50_000,
            grown_receipts=500_000,
            fat_callbacks=150,
        ),
        Size(
            "full",
            rounds=5,
            seconds=10.0,
            warm_up_seconds=60.0,
            callbacks=60_000,
            committed_callbacks=60_000,
            single_rows=3_000,
            path_rate=1_000,
            path_seconds=60.0,
            memory_callbacks=1_000_000,
            grown_receipts=10_000_000,
            fat_callbacks=500,
            binding=True,
        ),
    )
}
