"""What a fault is, and what must be seen of it."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.chaos.fleet import Fleet

Injection = Callable[[Fleet, random.Random], None]
"""Hurts the fleet, holds for a while, and has mended what it hurt when it returns."""


@dataclass(frozen=True)
class Fault:
    """A fault, and what a watchman must have been told while it held.

    By default it ends nothing but what it ends itself, no `/livez` turns bad, and nothing need be
    told.

    Args:
        inject: brings it about, and mends it.
        ends: rooms of which a process ends by itself in it, by design, and with which exit code.
            Any other end that the fault did not bring about by `kill` or `stop` is a failure.
        missing: rooms of which a process must have named this in `/readyz`.
        alerts: that must have been pending or firing.
        fails_livez: whether a `/livez` may turn bad.
        forgets: whether the database loses what it had confirmed. Callbacks write receipts again;
            nothing brings back holds and credits.
    """

    inject: Injection
    ends: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    alerts: frozenset[str] = frozenset()
    fails_livez: bool = False
    forgets: bool = False
