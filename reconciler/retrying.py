"""When to ask again: pauses that grow, with jitter. Pure but for the dice."""

import random
from collections.abc import Callable
from typing import Final

_FIRST_PAUSE: Final = 0.5
_dice: Final = random.SystemRandom()
_PATIENCE: Final = 10
"""How many of the longest pauses a `Retry-After` may be: an outage is no reason to stay away."""


def pause(
    tries: int,
    longest: float,
    asked: float | None = None,
    dice: Callable[[], float] = _dice.random,
) -> float:
    """Return how many seconds to wait after the `tries`-th try has failed.

    From half of a pause that doubles up to `longest`, to the whole of it, so that two that failed
    together do not come again together. Never less than `asked`, a `Retry-After`, which is honoured
    up to ten times `longest`.
    """
    whole = min(longest, _FIRST_PAUSE * 2.0 ** min(tries - 1, 60))
    return max(whole * (1 + dice()) / 2, min(asked or 0.0, longest * _PATIENCE))
