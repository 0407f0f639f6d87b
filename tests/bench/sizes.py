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
        Size("tiny", 1, 1.0, 0.0, 12_000, 200, 100, 2.0, 4_000, 20_000, 60),
        Size("small", 2, 3.0, 20.0, 15_000, 1_000, 300, 10.0, 50_000, 500_000, 150),
        Size(
            "full",
            5,
            10.0,
            60.0,
            60_000,
            3_000,
            1_000,
            60.0,
            1_000_000,
            10_000_000,
            500,
            binding=True,
        ),
    )
}
