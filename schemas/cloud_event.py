"""The cloud event: the form of everything that other teams read.

CloudEvents 1.0 in binary mode of the Kafka protocol binding: attributes are `ce_*` headers, the
value is the event as JSON.
"""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

_encoder: Final = msgspec.json.Encoder()


class EventRecord(NamedTuple):
    """An event as a Kafka record: names and values of its headers in UTF-8, key, value."""

    headers: dict[str, bytes]
    key: str
    value: bytes


class Attributes(NamedTuple):
    """What the headers say of an event; its time needs a zone."""

    id: UUID | str
    source: str
    type: str
    subject: str
    time: datetime


def cloud_event(attributes: Attributes, key: str, event: msgspec.Struct) -> EventRecord:
    """Return the Kafka record of an event under a key. Times have the text that they have in JSON.

    A decimal is to be text in plain notation already: by itself it would be written as 4.95E-7.
    """
    headers = {
        "ce_id": _text(attributes.id),
        "ce_source": attributes.source.encode(),
        "ce_type": attributes.type.encode(),
        "ce_specversion": b"1.0",
        "ce_subject": attributes.subject.encode(),
        "ce_time": _text(attributes.time),
        "content-type": b"application/json",
        "ce_partitionkey": key.encode(),
    }
    return EventRecord(headers, key, _encoder.encode(event))


def _text(value: UUID | str | datetime) -> bytes:
    """Return the text that the JSON of an event has for `value`, without its quotes."""
    return _encoder.encode(value)[1:-1]
