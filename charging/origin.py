"""The origin of a record, by its headers: whose it is, when it was received, who settled it."""

from datetime import datetime
from functools import lru_cache
from typing import Final

from charging.outcomes import Settlement
from charging.terms import Origin
from schemas.headers import (
    RECEIVED_AT,
    SETTLED_BY,
    SETTLED_CALL_KEY,
    SETTLED_FROM,
    SETTLED_NOTE,
    SOURCE,
)
from schemas.record import Record
from schemas.text import identifier, storable

DEFAULT_SOURCE: Final = "litellm"
EARLIEST_MS: Final = 1_577_836_800_000
"""2020-01-01: nothing that is billed here is older."""
DAY_MS: Final = 86_400_000
_LATEST_MS: Final = 253_402_214_400_000
"""A day before the last one that a date can name."""
_CACHED_BYTES: Final = 256
"""What is remembered by its text is short: anybody may have produced the record."""
_MAX_NOTE: Final = 4_096
FROM_BREAKDOWN: Final = b"cost_breakdown"
"""What `settled-from` says of a cost that a rule took."""


def origin_of(record: Record) -> Origin:
    """Return the origin of `record`, whatever its headers and its time hold.

    Where a header occurs twice, the last one counts, as in `schemas.record.header`.
    """
    headers = {name: value for name, value in record.headers if value is not None}
    return Origin(
        _source_system(headers.get(SOURCE, b"")),
        _received_ms(headers.get(RECEIVED_AT, b""), record),
        _settlement(headers) if SETTLED_BY in headers else None,
    )


def _source_system(source: bytes) -> str:
    return _source_of(source) if len(source) <= _CACHED_BYTES else _source_text(source)


def _source_text(source: bytes) -> str:
    return identifier(source.decode("utf-8", "replace") or DEFAULT_SOURCE)


_source_of: Final = lru_cache(maxsize=1_024)(_source_text)


def _settlement(headers: dict[str, bytes]) -> Settlement | None:
    if not (by := headers.get(SETTLED_BY)):
        return None
    note = headers.get(SETTLED_NOTE, b"")
    return Settlement(
        identifier(by.decode("utf-8", "replace")),
        storable(note.decode("utf-8", "replace"))[:_MAX_NOTE],
        identifier(headers.get(SETTLED_CALL_KEY, b"").decode("utf-8", "replace")),
        headers.get(SETTLED_FROM) == FROM_BREAKDOWN,
    )


def _received_ms(received_at: bytes, record: Record) -> int:
    """When the gateway took the callback: unlike Kafka's time, a replay does not change it.

    Kafka's time is the producer's word and may be any number. Where neither can be, it is when this
    process took the record.
    """
    latest = record.taken_ms + DAY_MS if record.taken_ms else _LATEST_MS
    kafka_ms = record.timestamp_ms
    if not EARLIEST_MS <= kafka_ms <= latest:
        kafka_ms = record.taken_ms or EARLIEST_MS
    said = _moment_of(received_at) if len(received_at) <= _CACHED_BYTES else None
    return min(said, kafka_ms) if said is not None and said >= EARLIEST_MS else kafka_ms


@lru_cache(maxsize=1_024)
def _moment_of(received_at: bytes) -> int | None:
    """Return the header's time; all callbacks of one POST have the same."""
    try:
        received = datetime.fromisoformat(received_at.decode("utf-8", "replace"))
    except ValueError:
        return None
    return None if received.tzinfo is None else round(received.timestamp() * 1_000)
