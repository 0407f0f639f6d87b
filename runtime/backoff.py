"""Back-off: how long to wait before something that failed is tried again. Pure but for the dice."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_MOST_DOUBLINGS: Final = 60
_PATIENCE: Final = 10
"""How many of the longest pauses a `Retry-After` may be: an outage is no reason to stay away."""


@dataclass(frozen=True, slots=True)
class BackOff:
    """Pauses that double from `first` seconds up to `longest`, each with jitter.

    `dice` returns a number from 0 to 1.
    """

    first: float
    longest: float
    dice: Callable[[], float] = random.random

    def pause(self, failures: int, asked: float | None = None) -> float:
        """Return the seconds to wait after so many failures in a row, from 1 on.

        From half of the pause to the whole of it, so that two that failed together do not come
        again together. Never less than `asked`, a `Retry-After`, which is honoured up to ten times
        `longest`.
        """
        whole = min(self.longest, self.first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        return max(whole * (1 + self.dice()) / 2, min(asked or 0.0, self.longest * _PATIENCE))
