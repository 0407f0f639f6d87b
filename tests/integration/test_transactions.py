"""The consumer's transactions: one right after the other, where batches are small and many."""

import time
from typing import Any

from confluent_kafka import Consumer

from charging.decision import decide
from charging.outcomes import Charge, Decided, Outcome, OutcomeKind
from consumer.extent import Extent
from consumer.publisher import Publisher
from consumer.service import producer_config
from schemas.topics import Topics
from tests.inputs.callbacks import element, policy, record
from tests.inputs.settings import settings
from tests.observers.topics import topic_ends

MANY = 40
LONG_SECONDS = 0.07
"""Less than the client's own pause before it asks again, which is a tenth of a second."""


def test_a_transaction_right_after_another_one_is_not_kept_waiting(
    kafka: str, topics: Topics
) -> None:
    """A broker takes nothing of a transaction until the markers of the one before are written.

    A busy machine makes some of them slow; a client that pauses makes nearly all of them slow.
    """
    group = f"{topics.receipts.name}-group"
    found = settings(KAFKA_BOOTSTRAP_SERVERS=kafka, consumer_group=group)
    publisher = Publisher(producer_config(found, topics), topics, group)
    config: dict[str, Any] = {"bootstrap.servers": kafka, "group.id": group}
    member = Consumer(config)
    took = list[float]()
    for number in range(MANY):
        name = f"call-{number}"
        taken = record(element(id=name, litellm_call_id=name), topic=topics.callbacks.name)
        charge = decide(taken, policy())
        assert isinstance(charge, Charge)
        receipt = charge.receipt
        one = Decided(taken, charge)
        outcome = Outcome(one, OutcomeKind.CREATED, receipt.charge_reason, receipt)
        began = time.monotonic()
        publisher.publish([outcome], Extent.of([taken]), member.consumer_group_metadata())
        took.append(time.monotonic() - began)
    assert sum(topic_ends(member, topics.receipts.name).values()) >= MANY
    member.close()
    assert sorted(took)[MANY // 4] < LONG_SECONDS
