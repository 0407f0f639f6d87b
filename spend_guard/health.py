"""Health: whether expired holds are still looked for, and whether the books answer."""

import time
from collections.abc import Callable


class Health:
    """What the process knows about itself, judged by the probes' threads.

    Liveness fails when no sweep has ended for `stalled_after` seconds, never because PostgreSQL is
    away, as a restart mends none. Readiness says so instead, until it has answered once.
    """

    def __init__(self, stalled_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.away = True
        self.stopping = False
        self._stalled_after = stalled_after
        self._clock = clock
        self._turned_at = clock()

    def turned(self) -> None:
        """Note that a sweep has ended, well or not."""
        self._turned_at = self._clock()

    def live(self) -> dict[str, str]:
        """Return why a restart would help; empty while it would not."""
        still = self._clock() - self._turned_at
        if still > self._stalled_after:
            return {"sweeper": f"has done nothing for {still:.0f} s"}
        return {}

    def ready(self) -> dict[str, str]:
        """Return what is missing; empty when nothing is."""
        if self.stopping:
            return {"spend_guard": "stops"}
        return {"postgresql": "does not answer"} if self.away else {}
