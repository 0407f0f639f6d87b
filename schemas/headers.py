"""The record contract of the callbacks topic and its dead letters: header names and codes.

Key: the run id in UTF-8. Value: the callback's bytes as received (RAW_BYTES_SURVIVE).
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, TypeAlias

Headers: TypeAlias = list[tuple[str, bytes]]
"""Headers as we write them."""
FoundHeaders: TypeAlias = Sequence[tuple[str, bytes | None]]
"""Headers as they are found: any producer may have written null, and a name several times."""

SOURCE: Final = "source"
"""`litellm`, or `litellm/<name of the token's source>`."""
RECEIVED_AT: Final = "received-at"
"""RFC 3339, UTC, milliseconds."""
CONTENT_TYPE: Final = "content-type"
GATEWAY_VERSION: Final = "gateway-version"
CALL_KEY: Final = "call-key"
LENIENT_JSON: Final = "lenient-json"
"""`true` where the value is not JSON by RFC 8259 (`schemas.reader.is_strict_json`)."""
TRACEPARENT: Final = "traceparent"
"""W3C Trace Context, where the request had a valid one."""
CONTENT_DROPPED: Final = "content-dropped"
"""`policy`, `oversize` or `minimal`: which fields the gateway cut, see `ContentDropped`."""
ORIGINAL_BYTES: Final = "original-bytes"
ORIGINAL_SHA256: Final = "original-sha256"

SETTLED_BY: Final = "settled-by"
"""Who set the cost of a deferred call by hand; only `billing deferred settle` does."""
SETTLED_NOTE: Final = "settled-note"
SETTLED_CALL_KEY: Final = "settled-call-key"
"""The call key of the deferral: that of a read is not the one its value has."""
SETTLED_FROM: Final = "settled-from"
"""Where the cost is from: `cost_breakdown`; without this header, a person named it."""

REPLAYED_FROM: Final = "replayed-from"
"""The dead letter that this record was: topic/partition/offset."""

REASON: Final = "reason"
REASON_DETAIL: Final = "reason-detail"
ORIGINAL_TOPIC: Final = "original-topic"
ORIGINAL_PARTITION: Final = "original-partition"
ORIGINAL_OFFSET: Final = "original-offset"
ORIGINAL_TIMESTAMP: Final = "original-timestamp"
"""Milliseconds since the epoch, as Kafka has it."""
CONSUMER_GROUP: Final = "consumer-group"
APPLICATION_VERSION: Final = "application-version"
PART_INDEX: Final = "part-index"
PART_COUNT: Final = "part-count"
BODY_SHA256: Final = "body-sha256"
HEADER_NAMES_LOST: Final = "header-names-lost"
"""How many headers had a name that is no UTF-8; they stand under `LOST_NAME`, values whole."""
LOST_NAME: Final = "\ufffd"
HEADERS_CUT: Final = "headers-cut"
"""How many of the record's own headers were left out, because no dead letter can hold them."""
KEY_CUT: Final = "key-cut"
"""How many bytes the record's own key had, where the key of the dead letter is its SHA-256."""


class ContentDropped(StrEnum):
    """Why fields were cut out of a value, and how deep."""

    POLICY = "policy"
    """The operator wants no content on the topic."""
    OVERSIZE = "oversize"
    """The callback was over the topic's limit; the content fields were cut."""
    MINIMAL = "minimal"
    """Still over it; only the fields that billing reads were kept."""


class Reason(StrEnum):
    """Why a dead letter is one."""

    UNREADABLE = "unreadable"
    NOT_AN_OBJECT = "not_an_object"
    NO_USABLE_ID = "no_usable_id"
    CONTRACT_BROKEN = "contract_broken"
    TOO_LARGE = "too_large"
    HEADERS_UNREADABLE = "headers_unreadable"
    UNSTORABLE = "unstorable"
    """PostgreSQL refused its row: the consumer's alone."""


def header(headers: Sequence[tuple[str, bytes | str | None]] | None, name: str) -> str | None:
    """Return the last value of header `name` as text, or None; undecodable bytes are replaced."""
    for key, value in reversed(headers or ()):
        if key == name and value is not None:
            return value if isinstance(value, str) else value.decode("utf-8", "replace")
    return None
