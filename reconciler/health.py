"""Health: whether the reconciler still does something, and which dependency it waits for."""

import time
from collections.abc import Callable


class Health:
    """What the process knows about itself, judged by the probes' threads.

    Liveness fails when it has asked and done nothing for `stalled_after` seconds, never because a
    dependency is away, as a restart mends none. Readiness names the dependency that is missing; an
    instance that stands by is ready.
    """

    def __init__(self, stalled_after: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.missing: str | None = None
        self._stalled_after = stalled_after
        self._clock = clock
        self._turned_at = clock()

    def turned(self) -> None:
        """Note that something was done."""
        self._turned_at = self._clock()

    def live(self) -> dict[str, str]:
        """Return why a restart would help; empty while it would not."""
        still = self._clock() - self._turned_at
        if still > self._stalled_after:
            return {"reconciler": f"has done nothing for {still:.0f} s"}
        return {}

    def ready(self) -> dict[str, str]:
        """Return which dependency is missing; empty when all are there."""
        return {} if self.missing is None else {self.missing: "the last pass failed for it"}
