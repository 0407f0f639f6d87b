"""Usage units of which the books know nothing: those whose call no row explains either. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from reconciler.reposting import response_id
from reconciler.row import SpendLog

Unit: TypeAlias = Mapping[str, Any]


class UnmatchedUnits:
    """Usage units without a receipt and without a deferral, less those whose call has a row.

    What the row says of the call counts then: that it cost nothing, or that it is lost.
    """

    def __init__(self, units: Iterable[Unit]) -> None:
        self._units = {unit["unit_id"]: unit for unit in units}
        self._by_id: dict[str, list[Any]] = {}
        for unit in self._units.values():
            for name in (unit["litellm_call_id"], unit["response_id"]):
                if name is not None:
                    self._by_id.setdefault(name, []).append(unit["unit_id"])

    def seen(self, rows: Iterable[SpendLog]) -> None:
        """Take out the units of calls that have a row."""
        if not self._by_id:
            return
        for row in rows:
            for name in (row.litellm_call_id, row.request_id, response_id(row)):
                for unit in self._by_id.pop(name, ()) if name else ():
                    self._units.pop(unit, None)

    @property
    def left(self) -> list[Unit]:
        """The units that nothing explains, the oldest first."""
        return list(self._units.values())
