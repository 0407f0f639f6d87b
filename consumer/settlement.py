"""Settlement: a person says what a deferred call cost, or that it costs nothing.

ONE_BILLING_PATH: a settled cost goes through the callbacks topic like any other, marked with who
set it and why, so that its receipt is written, published and replayed as all receipts are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from psycopg import Connection
from psycopg.rows import class_row

from consumer.background import deferral_keys
from consumer.origin import DEFAULT_SOURCE, origin_of
from consumer.queries import query
from consumer.record import Record, Settlement
from consumer.span import Span
from consumer.topic_ids import topic_ids
from schemas import record as names
from schemas.element import ContractError, Wire, read_wire

_FLUSH_SECONDS: Final = 30.0
# Numbers that were read leniently know their text; what is no number there becomes null.
_encoder: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=float)


class SettlementError(Exception):
    """The deferral cannot be settled so; the text says what to do."""


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A deferred call, as far as its settlement needs it."""

    id: int
    call_key: str
    run_id: str
    kafka_topic: str
    kafka_partition: int
    kafka_offset: int
    resolution: str | None
    source_system: str = DEFAULT_SOURCE
    kafka_topic_id: str | None = None
    """Of the topic in which its callback stood; None where that was not kept yet."""


def find(connection: Connection[Any], name: str) -> OpenCall:
    """Return the one open deferral that `name` means: its number, call key or an id.

    Raises `SettlementError` when there is none, several, or it is settled already.
    """
    with connection.cursor(row_factory=class_row(OpenCall)) as cursor:
        found = cursor.execute(query("find_deferred"), {"name": name}).fetchall()
    if not found:
        raise SettlementError(f"no deferred call {name!r}; see `deferred list`")
    if len(found) > 1:
        numbers = ", ".join(str(call.id) for call in found)
        raise SettlementError(f"{name!r} means several calls; name one by its number: {numbers}")
    call = found[0]
    if call.resolution is not None:
        raise SettlementError(f"call {call.id} is already settled: {call.resolution}")
    return call


def original(config: dict[str, Any], call: OpenCall) -> Record:
    """Read the callback of a deferred call back from Kafka.

    Raises `SettlementError` when it is no longer there, or another call's in its place, and
    `KafkaException` when Kafka is not.
    """
    anew = call.kafka_topic_id and _topic_id(config, call) not in {"", call.kafka_topic_id}
    span = Span(config, call.kafka_topic)
    try:
        first, end = (ends.get(call.kafka_partition, 0) for ends in (span.first, span.end))
        if not first <= call.kafka_offset < end:
            raise SettlementError(_missing(call, anew=bool(anew) or call.kafka_offset >= end))
        span.only(call.kafka_partition, call.kafka_offset)
        record = next(_records(span), None)
    finally:
        span.close()
    if record is None or not is_of(call, record):
        raise SettlementError(_another(call, anew=bool(anew)))
    return record


def is_of(call: OpenCall, record: Record) -> bool:
    """Say whether a record is a callback of this call, or a read of it, by key and source."""
    if origin_of(record).source_system != call.source_system:
        return False
    try:
        return call.call_key in deferral_keys(record.value or b"")
    except ContractError:
        return False


def _topic_id(config: dict[str, Any], call: OpenCall) -> str:
    return topic_ids(config, {call.kafka_topic})[call.kafka_topic]


def _missing(call: OpenCall, *, anew: bool) -> str:
    why = "the topic was made anew" if anew else "retention"
    return (
        f"the callback of call {call.id} has left {call.kafka_topic} ({why}): it can only be waived"
    )


def _another(call: OpenCall, *, anew: bool) -> str:
    why = "the topic was made anew" if anew else "its offsets mean other records now"
    return (
        f"another record stands where the callback of call {call.id} was, at {call.kafka_topic}/"
        f"{call.kafka_partition}/{call.kafka_offset} ({why}). Nothing was sent: settling it would "
        "charge another call. It can only be waived"
    )


def _records(span: Span) -> Iterator[Record]:
    for batch in span:
        yield from batch


def settled_value(element: bytes, cost_usd: Decimal) -> bytes:
    """Return the fields that billing reads of `element`, with `cost_usd` as its cost.

    Raises `ContractError` where `element` is no callback.
    """
    wire, _ = read_wire(element)
    return _encoder.encode(_encodable(wire) | {"response_cost": cost_usd, "status": "success"})


def _encodable(wire: Wire) -> Wire:
    """Leave out the amounts that JSON has no number for; nothing is billed from them."""
    return {
        name: _encodable(value) if isinstance(value, dict) else value
        for name, value in wire.items()
        if not (isinstance(value, Decimal) and not value.is_finite())
    }


def send(config: dict[str, Any], record: Record, cost_usd: Decimal, settlement: Settlement) -> None:
    """Send the settled callback. Raises `KafkaException` when it did not arrive."""
    failures: list[KafkaError] = []

    def report(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(config)
    headers: Any = [
        *record.headers,
        (names.SETTLED_BY, settlement.by.encode()),
        (names.SETTLED_NOTE, settlement.note.encode()),
        (names.SETTLED_CALL_KEY, settlement.call_key.encode()),
    ]
    value = settled_value(record.value or b"", cost_usd)
    producer.produce(record.topic, value=value, key=record.key, headers=headers, on_delivery=report)
    if producer.flush(_FLUSH_SECONDS):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - the client's name
    if failures:
        raise KafkaException(failures[0])


def waive(connection: Connection[Any], call: OpenCall, by: str, note: str) -> None:
    """Close a deferral without a receipt. Raises `SettlementError` when someone was faster."""
    changed = connection.execute(
        query("waive_deferred"), {"id": call.id, "by": by, "note": note}
    ).rowcount
    if not changed:
        raise SettlementError(f"call {call.id} was settled in the meantime")
