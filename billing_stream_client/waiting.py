"""The usage units of a run that wait to be posted, and what became of the others."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from billing_stream_client.gateway import Gateway, Posted
from billing_stream_client.unit import Unit

_log: Final = logging.getLogger("billing_stream_client")


class WaitingUnits:
    """Units until the gateway has them. May be used from many threads; nothing here raises.

    Args:
        gateway: takes them; without one they wait for good.
    """

    def __init__(self, gateway: Gateway | None) -> None:
        self._gateway = gateway
        self._lock = threading.Lock()
        self._posting = threading.Lock()
        self._units = dict[str, Unit]()
        self._posted = Posted()
        self._end: Unit | None = None
        self._ended = False

    @property
    def units(self) -> Sequence[Unit]:
        """Those that wait, in the order in which they came; the end of the run is the last."""
        with self._lock:
            return tuple(sorted(self._units.values(), key=lambda unit: unit.run_completed))

    @property
    def posted(self) -> Posted:
        """What became of the units so far; `waiting` and `said` are of the last time."""
        with self._lock:
            return self._posted

    def keep(self, unit: Unit) -> None:
        """Take a unit, or a later state of one."""
        with self._lock:
            self._units[unit.unit_id] = unit

    def complete(self, end: Unit) -> bool:
        """Post what waits and then the end of the run; return whether the gateway has that.

        The first `end` counts; each later one stands for it.
        """
        with self._lock:
            if self._end is None:
                self._end = end
            if not self._ended:
                self._units[self._end.unit_id] = self._end
        self.post()
        with self._lock:
            return self._ended

    def post(self) -> Posted:
        """Post the units that wait, and say what became of them."""
        with self._posting:
            return self._post()

    def _post(self) -> Posted:
        units = self.units
        if not units:
            return Posted()
        if self._gateway is None:
            return Posted(waiting=len(units), said="no gateway_url was given")
        try:
            posted = self._gateway.post(units, self)
        except Exception as error:  # noqa: BLE001 - BILLING_NEVER_THROWS
            _log.exception("usage units could not be posted")
            posted = Posted(waiting=len(self.units), said=repr(error))
        with self._lock:
            self._posted = replace(
                posted,
                accepted=self._posted.accepted + posted.accepted,
                refused=self._posted.refused + posted.refused,
            )
        return posted

    def accepted(self, units: Sequence[Unit]) -> None:
        """Hear of the gateway that it has these."""
        with self._lock:
            self._drop(units)
            self._ended = self._ended or any(unit.run_completed for unit in units)

    def refused(self, units: Sequence[Unit]) -> None:
        """Hear of the gateway that it will never take these as they are."""
        with self._lock:
            self._drop(units)

    def _drop(self, units: Sequence[Unit]) -> None:
        for unit in units:
            self._units.pop(unit.unit_id, None)
