"""A row of the spool: its checksum, and the record that its columns hold."""

from hashlib import blake2b
from typing import Final

import msgspec

from producer_gateway.store import Record

_headers: Final = msgspec.msgpack.Decoder(list[tuple[str, bytes]])


def checksum(*parts: bytes) -> bytes:
    """Return what a row's topic, key, headers and value, as they are stored, must come to."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def headers_of(stored: bytes) -> list[tuple[str, bytes]]:
    """Return a row's headers; none where they cannot be read."""
    try:
        return _headers.decode(stored)
    except msgspec.DecodeError:
        return []


def record_of(topic: object, key: object, headers: object, value: object, check: object) -> Record:
    """Return the record of a row's columns. Raises `ValueError` where they are not as written."""
    if not (
        isinstance(topic, bytes)
        and isinstance(key, bytes)
        and isinstance(headers, bytes)
        and isinstance(value, bytes)
    ):
        raise ValueError("a column has another type")  # noqa: TRY004 - of a disk, not of a caller
    if check is not None and check != checksum(topic, key, headers, value):
        raise ValueError("the checksum does not fit")
    try:
        return Record(topic.decode(), key, value, _headers.decode(headers))
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise ValueError(str(error)) from None
