"""The consumer's transactions: one right after the other, where batches are small and many."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer

from charging.decision import decide
from charging.outcomes import Charge, Decided, Outcome, OutcomeKind
from consumer.credit_events import EventTopic
from consumer.extent import Extent
from consumer.publisher import Publisher
from consumer.service import producer_config
from ledger.credit_events import Numbered
from schemas.credits import CreditEvent
from schemas.topics import Topics
from tests.inputs.callbacks import element, policy, record
from tests.inputs.settings import settings
from tests.observers.topics import topic_ends

MANY: Final = 40
LONG_SECONDS: Final = 0.07
"""Less than the client's own pause before it asks again, which is a tenth of a second."""
EXAMPLE: Final = Path("schemas/examples/credit-event.json")


def kept_waiting(publish: Callable[[int], None]) -> bool:
    """Publish one right after another; whether the client pauses between them.

    A broker takes nothing of a transaction until the markers of the one before are written. A busy
    machine makes some of them slow; a client that pauses makes nearly all of them slow.
    """
    took = list[float]()
    for number in range(MANY):
        began = time.monotonic()
        publish(number)
        took.append(time.monotonic() - began)
    return sorted(took)[MANY // 4] > LONG_SECONDS


def test_a_transaction_right_after_another_one_is_not_kept_waiting(
    kafka: str, topics: Topics
) -> None:
    group = f"{topics.receipts.name}-group"
    found = settings(KAFKA_BOOTSTRAP_SERVERS=kafka, consumer_group=group)
    publisher = Publisher(producer_config(found, topics), topics, group)
    config: dict[str, Any] = {"bootstrap.servers": kafka, "group.id": group}
    with closing(Consumer(config)) as member:

        def publish(number: int) -> None:
            name = f"call-{number}"
            taken = record(element(id=name, litellm_call_id=name), topic=topics.callbacks.name)
            charge = decide(taken, policy())
            assert isinstance(charge, Charge)
            receipt = charge.receipt
            one = Decided(taken, charge)
            outcome = Outcome(one, OutcomeKind.CREATED, receipt.charge_reason, receipt)
            publisher.publish([outcome], Extent.of([taken]), member.consumer_group_metadata())

        waited = kept_waiting(publish)
        assert sum(topic_ends(member, topics.receipts.name).values()) >= MANY
    assert not waited


def test_events_of_accounts_right_after_others_are_not_kept_waiting(
    kafka: str, topics: Topics
) -> None:
    group = f"{topics.receipts.name}-group"
    found = settings(KAFKA_BOOTSTRAP_SERVERS=kafka, consumer_group=group)
    reader: dict[str, Any] = {
        "bootstrap.servers": kafka,
        "group.id": group,
        "isolation.level": "read_committed",
    }
    event = msgspec.json.decode(EXAMPLE.read_bytes(), type=CreditEvent)
    with (
        closing(
            EventTopic(
                producer_config(found, topics), reader, topics.credits.name, topics.receipts.name
            )
        ) as topic,
        closing(Consumer(reader)) as member,
    ):
        waited = kept_waiting(lambda number: topic.publish([Numbered(number + 1, event)]))
        assert sum(topic_ends(member, topics.credits.name).values()) >= MANY
        assert topic.published == MANY
    assert not waited
