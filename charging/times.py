"""When a call was: the times of its callback that can be believed. Pure."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final, TypeAlias

from charging.marks import TIMES
from charging.origin import DAY_MS, EARLIEST_MS
from schemas.callback import Callback

_MAX_INTEGER: Final = 2_147_483_647
_EARLIEST: Final = EARLIEST_MS / 1_000
_DAY: Final = DAY_MS / 1_000

Times: TypeAlias = tuple[datetime, datetime | None, int | None, int | None, bool]
"""Its end and start, milliseconds to its end and first token, and whether one of them is odd."""


def times_of(callback: Callback, received_ms: int, dropped: Collection[str]) -> Times:
    """Return when a call was, as far as that is believed.

    `received_ms` is when the gateway took its callback, `dropped` what of it could not be read. Odd
    is a time that cannot be. An end that cannot be is when the call was received.
    """
    received = received_ms / 1_000
    latest = received + _DAY
    start = _believed(callback.startTime, latest)
    end = _believed(callback.endTime, latest)
    first = _believed(callback.completionStartTime, latest)
    # What was there and is not believed.
    odd = (
        start != callback.startTime
        or end != callback.endTime
        or first != callback.completionStartTime
    )
    no_end = callback.endTime is None and "endTime" not in dropped
    occurred = end or (start if no_end else None) or received
    return (
        datetime.fromtimestamp(occurred, UTC),
        datetime.fromtimestamp(start, UTC) if start else None,
        _milliseconds(start, end),
        _milliseconds(start, first) if callback.stream else None,
        odd or (bool(dropped) and not TIMES.isdisjoint(dropped)),
    )


def _believed(seconds: float | None, latest: float) -> float | None:
    # A comparison with NaN is false, too.
    return seconds if seconds is not None and _EARLIEST <= seconds <= latest else None


def _milliseconds(start: float | None, end: float | None) -> int | None:
    if not start or not end or end < start:
        return None
    return min(round((end - start) * 1_000), _MAX_INTEGER)
