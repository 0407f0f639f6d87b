"""Records out of the client's messages, whatever their producers wrote into them.

Kafka's header names are bytes by its protocol. confluent-kafka (2.16) reads them as UTF-8 and,
where one is not, `Message.headers()` raises `SystemError`. The list that it built stays behind: it
is whole, except that the pair of each such header lacks its name.
"""

import gc
import operator
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, cast

from confluent_kafka import Message

from runtime.metrics import HEADERS_UNREADABLE
from schemas.headers import LOST_NAME, FoundHeaders
from schemas.record import ALL_LOST, Record

_Pair: TypeAlias = tuple[str, bytes | None]
Found: TypeAlias = tuple[FoundHeaders, int]
"""The headers in their order; so many of them stand under `LOST_NAME`, their values whole."""
_NONE: Final[Found] = ((), ALL_LOST)
_WHOLE: Final = 2
"""Parts of a pair that has its name."""
_REFUSALS: Final = (SystemError, UnicodeDecodeError)
_headers: Final = operator.methodcaller("headers")
"""Asks a message for them from C, where an error that the client leaves behind beside its answer is
always found. A call from Python that has been made often is not looked at (CPython 3.11 and later):
the error would come out of whatever is called next.
"""


def record_of(message: Message, taken_ms: int = 0) -> Record:
    """Take over a message that carries no error. Never raises.

    `taken_ms` is when this process took it, milliseconds since the epoch; 0 where nobody asks.
    """
    headers, names_lost = read_headers(message) or _NONE
    return Record(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        _bytes(message.key()),
        _bytes(message.value()),
        headers,
        taken_ms,
        names_lost,
    )


def _bytes(value: object) -> bytes | None:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else None


def read_headers(message: Message) -> Found | None:
    """Return the headers of `message`; None where the client hands out none of those it has."""
    try:
        # Names are texts and values bytes or None, whatever the client's stubs allow for.
        return cast("FoundHeaders", _headers(message) or ()), 0
    except _REFUSALS:
        HEADERS_UNREADABLE.inc()
    try:
        left: Any = _headers(message)
    except _REFUSALS:
        return None
    return _salvaged(left) if isinstance(left, list) else None


def _salvaged(left: Sequence[_Pair]) -> Found:
    pairs, lost = list[_Pair](), 0
    for pair in left:
        # Taking a pair apart that lacks its name would end the process. The garbage collector is
        # told of what there is and of nothing else.
        parts = gc.get_referents(pair)
        if len(parts) == _WHOLE:
            pairs.append(pair)
            continue
        lost += 1
        pairs.append((LOST_NAME, parts[0] if parts else None))
    return pairs, lost
