"""The rates that holds go by, learned again and again from receipts, beside the asks."""

from collections.abc import Callable, Mapping
from threading import Event
from time import monotonic
from typing import Final

import structlog

from charging.estimate import Rates
from spend_guard import metrics

_LOG: Final = structlog.get_logger(__name__)
_AGAIN_SECONDS: Final = 10.0
"""After a failure, unless the next time is sooner anyway."""


class KnownRates:
    """The rates of models as they were learned last: none before the first time."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._rates: Mapping[str, Rates] = {}
        self._learned_at = clock()

    def of(self, model: str) -> Rates | None:
        """Return the rates of a model; None where it has none."""
        return self._rates.get(model)

    def replace(self, rates: Mapping[str, Rates]) -> None:
        """Take these from now on. From any thread."""
        self._rates, self._learned_at = rates, self._clock()

    def age(self) -> float:
        """Return how long ago they were learned, seconds; before the first time since the start."""
        return self._clock() - self._learned_at


class Learner:
    """Learns rates every so many seconds, in a thread of its own, until `stop` is set.

    `learn` reads the receipts. Where it fails, the former rates stay.
    """

    def __init__(
        self,
        learn: Callable[[], Mapping[str, Rates]],
        known: KnownRates,
        stop: Event,
        every_seconds: float,
    ) -> None:
        self._learn = learn
        self._known = known
        self._stop = stop
        self._every_seconds = every_seconds
        metrics.RATES_AGE_SECONDS.set_function(known.age)

    def run(self) -> None:
        """Learn until it is to stop."""
        while True:
            pause = self._every_seconds if self._learned() else _AGAIN_SECONDS
            if self._stop.wait(min(pause, self._every_seconds)):
                return

    def _learned(self) -> bool:
        try:
            rates = self._learn()
        except Exception as error:  # noqa: BLE001 - whatever it is, asks are answered all the same
            metrics.FAULTS.labels("learning").inc()
            _LOG.error(
                "rates_not_learned", error=type(error).__name__, detail=str(error).strip()[:500]
            )
            return False
        self._known.replace(rates)
        metrics.RATES_MODELS.set(len(rates))
        _LOG.debug("rates learned", models=len(rates))
        return True
