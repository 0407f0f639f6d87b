"""The dead letter of a record: its key, value and headers as they were, and why it is one.

What the client hands out is kept byte for byte; null stays null. Any producer may have written the
record, so it may be larger than any topic takes: Kafka's limit is about compressed batches. Such a
value goes in numbered parts, as the gateway's do, and of key and headers only what fits.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from charging.outcomes import Parked
from runtime import VERSION
from schemas import headers as names
from schemas.headers import FoundHeaders
from schemas.record import Record

_MAX_DETAIL: Final = 500
_MARGIN: Final = 4_096
"""Bytes of a batch and a record beside key, value and headers, and of the headers of a part."""
_PER_HEADER: Final = 16
"""Bytes that a header takes beside its name and value, at most."""
_KEY_SHARE: Final = 8
"""The part of the limit up to which a key is kept: one in so many."""

_Pair: TypeAlias = tuple[str, bytes | None]


class Letter(NamedTuple):
    """One record for the dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: list[_Pair]


def letters(record: Record, parked: Parked, group: str, limit: int) -> Iterator[Letter]:
    """Yield the dead letter of `record`; several where it is over `limit` bytes."""
    own, added = list(record.headers), _added(record, parked, group)
    key = record.key
    if _size(own) + _size(added) + len(key or b"") + record.size + _MARGIN > limit:
        key, added = _fitting_key(key, added, limit)
        room = (limit - _MARGIN - _size(added) - len(key or b"")) // 2
        own, added = _fitting_headers(own, added, room)
    room = limit - _MARGIN - _size(own) - _size(added) - len(key or b"")
    if record.size <= room:
        yield Letter(key, record.value, own + added)
        return
    yield from _parts(key, record.value or b"", own + added, room)


def _added(record: Record, parked: Parked, group: str) -> list[_Pair]:
    """Return the headers that say why and where the record was parked."""
    added = {
        names.REASON: parked.reason,
        names.REASON_DETAIL: parked.detail[:_MAX_DETAIL],
        names.ORIGINAL_TOPIC: record.topic,
        names.ORIGINAL_PARTITION: str(record.partition),
        names.ORIGINAL_OFFSET: str(record.offset),
        names.ORIGINAL_TIMESTAMP: str(record.timestamp_ms),
        names.CONSUMER_GROUP: group,
        names.APPLICATION_VERSION: VERSION,
    }
    if record.names_lost > 0:
        added[names.HEADER_NAMES_LOST] = str(record.names_lost)
    return [(name, value.encode("utf-8", "replace")) for name, value in added.items()]


def _size(headers: FoundHeaders) -> int:
    return sum(len(name.encode()) + len(value or b"") + _PER_HEADER for name, value in headers)


def _fitting_key(
    key: bytes | None, added: list[_Pair], limit: int
) -> tuple[bytes | None, list[_Pair]]:
    if key is None or len(key) <= limit // _KEY_SHARE:
        return key, added
    digest = hashlib.sha256(key).hexdigest().encode()
    return digest, [*added, (names.KEY_CUT, b"%d" % len(key))]


def _fitting_headers(
    own: list[_Pair], added: list[_Pair], room: int
) -> tuple[list[_Pair], list[_Pair]]:
    """Keep the headers from the first one on, as long as they fit."""
    kept, left = list[_Pair](), room
    for header in own:
        left -= _size([header])
        if left < 0:
            break
        kept.append(header)
    if len(kept) == len(own):
        return own, added
    return kept, [*added, (names.HEADERS_CUT, b"%d" % (len(own) - len(kept)))]


def _parts(
    key: bytes | None, value: bytes, headers: Sequence[_Pair], size: int
) -> Iterator[Letter]:
    starts = range(0, len(value), size)
    digest = hashlib.sha256(value).hexdigest().encode()
    common = [*headers, (names.PART_COUNT, b"%d" % len(starts)), (names.BODY_SHA256, digest)]
    for index, start in enumerate(starts):
        numbered = (names.PART_INDEX, b"%d" % index)
        yield Letter(key, value[start : start + size], [*common, numbered])
