"""Health: whether the loop turns, whether work advances, which dependency is missing."""

import time
from collections.abc import Callable


class Health:
    """What the loop knows about itself, judged by the probes' threads.

    Liveness fails when the loop has stopped turning, or when there is lag and nothing has been
    committed for `stalled_after` seconds; never because the broker or the database is away, as a
    restart mends neither. Readiness names the dependency that is missing.
    """

    def __init__(self, stalled_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.assigned = 0
        self._missing: str | None = None
        self._stalled_after = stalled_after
        self._clock = clock
        self._turned_at = clock()
        self._advanced_at = clock()

    @property
    def missing(self) -> str | None:
        """The dependency that work waits for."""
        return self._missing

    @missing.setter
    def missing(self, dependency: str | None) -> None:
        if dependency is None and self._missing is not None:
            # From now on work may advance again.
            self._advanced_at = self._clock()
        self._missing = dependency

    def turned(self) -> None:
        """Note that the loop has come round."""
        self._turned_at = self._clock()

    def progressed(self) -> None:
        """Note that a batch was committed: every dependency is there."""
        self.missing = None
        self._advanced_at = self._clock()

    def observed(self, lag: int) -> None:
        """Note how many records wait in the assigned partitions."""
        if lag == 0 or self.missing is not None:
            self._advanced_at = self._clock()

    def live(self) -> dict[str, str]:
        """Return why a restart would help; empty while it would not."""
        still = self._clock() - self._turned_at
        if still > self._stalled_after:
            return {"loop": f"has not turned for {still:.0f} s"}
        waiting = self._clock() - self._advanced_at
        if waiting > self._stalled_after and self.missing is None and self.assigned:
            return {"progress": f"records wait and none was committed for {waiting:.0f} s"}
        return {}

    def ready(self) -> dict[str, str]:
        """Return which dependency is missing; empty when all are there."""
        if self.missing is not None:
            return {self.missing: "work waits for it"}
        return {} if self.assigned else {"kafka": "no partition is assigned yet"}
