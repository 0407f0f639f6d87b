"""The arithmetic of a comparison: rounds, medians, spread, ratios, targets."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import median
from typing import Any


class Verdict(StrEnum):
    """How a figure stands to its target."""

    MET = "met"
    MISSED = "missed"
    NONE = ""
    """There is no target for it."""


@dataclass(frozen=True)
class Target:
    """A bound on the median: of the ratios to the limit, or of our own figures."""

    bound: float
    at_least: bool = True
    of_ratio: bool = True

    def __str__(self) -> str:
        """For people, such as `≥ 0.7`."""
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"

    def judge(self, value: float) -> Verdict:
        """Whether `value` is within the bound."""
        within = value >= self.bound if self.at_least else value <= self.bound
        return Verdict.MET if within else Verdict.MISSED


@dataclass(frozen=True)
class Figures:
    """The figures of one thing, one for each round, in the order of the rounds."""

    name: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return median(self.values)

    @property
    def least(self) -> float:
        """The least of the rounds."""
        return min(self.values)

    @property
    def most(self) -> float:
        """The greatest of the rounds."""
        return max(self.values)


@dataclass(frozen=True)
class Comparison:
    """One row of the table: our figures beside those of a limit from the same rounds.

    Without a limit there is no ratio, and a target is a bound on our own figures.
    """

    what: str
    unit: str
    ours: Figures
    limit: Figures | None = None
    target: Target | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be compared round by round."""
        if self.limit and len(self.limit.values) != len(self.ours.values):
            raise ValueError(f"{self.what}: as many rounds of the limit as of ours are needed")
        if self.target and self.target.of_ratio and not self.limit:
            raise ValueError(f"{self.what}: a ratio needs a limit")

    @property
    def ratio(self) -> Figures | None:
        """Ours by the limit's, round by round, so that what slows both does not count."""
        if self.limit is None:
            return None
        pairs = zip(self.ours.values, self.limit.values, strict=True)
        return Figures("ratio", tuple(ours / limit for ours, limit in pairs))

    @property
    def verdict(self) -> Verdict:
        """Whether the median is within the target."""
        if self.target is None:
            return Verdict.NONE
        ratio = self.ratio if self.target.of_ratio else None
        return self.target.judge((ratio or self.ours).median)

    def as_json(self) -> dict[str, Any]:
        """Every figure of every round."""
        return asdict(self) | {
            "ratio": self.ratio and self.ratio.values,
            "median_ratio": self.ratio and self.ratio.median,
            "verdict": self.verdict.value,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that at least `share` of `values` do not exceed (nearest rank).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values were measured")
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)
    return ordered[max(int(rank) - 1, 0)]


def quarter_peaks(samples: Sequence[float]) -> tuple[float, float, float, float]:
    """The greatest sample of each quarter, in order.

    Raises:
        ValueError: there are fewer than four samples.
    """
    if len(samples) < 4:
        raise ValueError("four samples at least have quarters")
    cuts = [len(samples) * part // 4 for part in range(5)]
    first, second, third, last = (max(samples[start:end]) for start, end in pairwise(cuts))
    return first, second, third, last
