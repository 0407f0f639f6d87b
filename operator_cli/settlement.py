"""Settlement: a person says what a deferred call cost, or that it costs nothing.

ONE_BILLING_PATH: a settled cost goes through the callbacks topic like any other, marked with who
set it and why, so that its receipt is written, published and replayed as all receipts are.
"""

from collections.abc import Iterator
from datetime import UTC
from decimal import Decimal
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from charging.background import deferral_keys
from charging.kept import settled_value
from charging.origin import FROM_BREAKDOWN, origin_of
from charging.outcomes import Settlement
from ledger.deferrals import OpenCall, SettlementError
from runtime.topic_ids import topic_ids
from runtime.topic_range import TopicRange
from schemas import headers as names
from schemas.callback import ContractError
from schemas.reader import identify
from schemas.record import Record

_FLUSH_SECONDS: Final = 30.0


def original(config: dict[str, Any], call: OpenCall) -> Record:
    """Return the callback of a deferred call: from Kafka, or what the ledger has kept of it.

    Raises `SettlementError` when neither has it any more, and `KafkaException` when Kafka is not
    there.
    """
    try:
        return _read(config, call)
    except SettlementError:
        if (record := kept(call)) is None:
            raise
        return record


def kept(call: OpenCall) -> Record | None:
    """Return the record that a deferred call was, as far as the ledger keeps it; None if not."""
    if call.callback is None or call.received_at is None:
        return None
    identity = identify(call.callback)
    received = call.received_at.astimezone(UTC)
    headers = [
        (names.SOURCE, call.source_system.encode()),
        (names.RECEIVED_AT, received.isoformat(timespec="milliseconds").encode()),
        (names.CALL_KEY, identity.call_key.encode()),
    ]
    return Record(
        call.kafka_topic,
        call.kafka_partition,
        call.kafka_offset,
        round(received.timestamp() * 1_000),
        identity.run_id.encode(),
        call.callback,
        headers,
    )


def _read(config: dict[str, Any], call: OpenCall) -> Record:
    anew = call.kafka_topic_id and _topic_id(config, call) not in {"", call.kafka_topic_id}
    topic_range = TopicRange(config, call.kafka_topic)
    try:
        first, end = (
            ends.get(call.kafka_partition, 0) for ends in (topic_range.first, topic_range.end)
        )
        if not first <= call.kafka_offset < end:
            raise SettlementError(_missing(call, anew=bool(anew) or call.kafka_offset >= end))
        topic_range.only(call.kafka_partition, call.kafka_offset)
        record = next(_records(topic_range), None)
    finally:
        topic_range.close()
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
    why = "the topic was made anew" if anew else "its retention ended"
    return (
        f"the callback of call {call.id} is no longer in {call.kafka_topic} ({why}): "
        "the call can only be waived, as its deferral keeps nothing of it"
    )


def _another(call: OpenCall, *, anew: bool) -> str:
    why = "the topic was made anew" if anew else "its offsets mean other records now"
    return (
        f"the callback of call {call.id} is no longer at {call.kafka_topic}/{call.kafka_partition}/"
        f"{call.kafka_offset}; another record is there ({why}). Nothing was sent, because it would "
        "charge another call. The deferred call can only be waived"
    )


def _records(topic_range: TopicRange) -> Iterator[Record]:
    for batch in topic_range:
        yield from batch


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
    if settlement.from_breakdown:
        headers.append((names.SETTLED_FROM, FROM_BREAKDOWN))
    value = settled_value(record.value or b"", cost_usd)
    producer.produce(record.topic, value=value, key=record.key, headers=headers, on_delivery=report)
    if producer.flush(_FLUSH_SECONDS):
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - the client's name
    if failures:
        raise KafkaException(failures[0])
