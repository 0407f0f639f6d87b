"""Marks: the further remarks on a receipt, where something about its call was odd. Pure."""

from typing import Final

from schemas.callback import RECONCILER
from schemas.reader import Reading
from schemas.receipt import ChargeReason

TIMES: Final = frozenset({"startTime", "endTime", "completionStartTime"})
_IDS: Final = frozenset({"id", "litellm_call_id"})
_WHO: Final = frozenset({"end_user", "request_tags", "metadata"})
_NOT_WHO: Final = ("metadata.usage_object", "metadata.is_silent_experiment")


def marks(reading: Reading, reason: ChargeReason, *more: tuple[str, bool]) -> list[str]:
    """Return the marks of a receipt, sorted: those of the reading, and of `more` that hold."""
    callback = reading.callback
    found = {name for name, holds in more if holds}
    if reason is not ChargeReason.USAGE:
        found.add(reason.value)
    if callback.status != "success":
        found.add("partial")
    elif callback.error_str:
        found.add("client_disconnected")
    if not reading.identity.attributed:
        found.add("unattributed_run")
    if reading.identity.half_key:
        found.add("half_key")
    if callback.source == RECONCILER:
        found.add(RECONCILER)
    if reading.lenient:
        found.add("lenient_json")
    if reading.dropped:
        found |= {_of_dropped(path) for path in reading.dropped} - {""}
    return sorted(found)


def _of_dropped(path: str) -> str:
    """Return the mark for a field whose value could not be read; ids and times have their own."""
    field = path.partition(".")[0]
    if field in _WHO and not path.startswith(_NOT_WHO):
        return "attribution_unreadable"
    return "" if field in TIMES | _IDS else "field_unreadable"
