"""Order, batching and repetition change nothing, and every record is counted once."""

import random

import pytest

from tests.inputs import captures
from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger, Row
from tests.observers.topics import Ends, Topics
from tests.waiting import eventually

TOPIC = "billing.callbacks.v1"
OUTCOMES = {"created", "duplicate", "conflict", "deferred", "skipped", "parked"}
OWN_OF_A_ROW = {
    "id",
    "charge_receipt_id",
    "receipt_id",
    "source_system",
    "kafka_topic",
    "kafka_partition",
    "kafka_offset",
    "created_at",
    "deferred_at",
    "received_at",
}
"""Columns that say when and whence a row came, not what was billed."""


def wait_until_counted(deployment: Deployment, topics: Topics, since: Ends) -> dict[str, float]:
    """`outcomes()` once all that came after `since` is consumed and counted."""
    topics.wait_until_consumed()
    ends = {part: end for part, end in topics.ends(TOPIC).items() if end > since.get(part, 0)}

    def counted() -> bool:
        so_far = deployment.counted_to(TOPIC)
        return all(so_far.get(part, 0) >= end for part, end in ends.items())

    eventually(counted, f"the records up to {ends} to be counted")
    return deployment.outcomes()


def added(before: dict[str, float], after: dict[str, float]) -> dict[str, int]:
    """What was counted in between, by outcome."""
    return {name: int(after[name] - before.get(name, 0)) for name in after}


def billed(rows: list[Row]) -> list[Row]:
    """What the rows say about billing."""
    return [{name: row[name] for name in row.keys() - OWN_OF_A_ROW} for row in rows]


def test_NOTHING_VANISHES_every_record_is_counted_and_repetition_changes_nothing(
    deployment: Deployment, topics: Topics, ledger: Ledger, rng: random.Random
) -> None:
    once = captures.all_elements()
    start = topics.ends(TOPIC)
    for batch in captures.batches(once, rng):
        deployment.accept(batch)
    before = wait_until_counted(deployment, topics, start)
    first, middle = ledger.snapshot(), topics.ends(TOPIC)

    thrice = once * 3
    rng.shuffle(thrice)
    for batch in captures.batches(thrice, rng):
        deployment.accept(batch)

    counted = added(before, wait_until_counted(deployment, topics, middle))
    assert counted.keys() <= OUTCOMES
    assert sum(counted.values()) == len(thrice)
    assert counted.get("created", 0) == 0
    assert counted.get("parked", 0) == 0
    assert ledger.snapshot() == first


def test_NOTHING_VANISHES_any_order_and_batching_gives_the_same_tables(
    deployment: Deployment, topics: Topics, ledger: Ledger, rng: random.Random
) -> None:
    if "shuffled" not in deployment.sources:
        pytest.skip("needs a token source `shuffled` in BILLING_INGEST_TOKENS")
    once = captures.all_elements()
    start = topics.ends(TOPIC)
    for batch in captures.batches(once, rng):
        deployment.accept(batch)
    before = wait_until_counted(deployment, topics, start)
    thrice = once * 3
    rng.shuffle(thrice)
    middle = topics.ends(TOPIC)
    for batch in captures.batches(thrice, rng):
        deployment.accept(batch, token=deployment.sources["shuffled"])
    counted = added(before, wait_until_counted(deployment, topics, middle))

    ids = {line.response_id for line in captures.expectations()}
    for table in (ledger.receipts, ledger.deferred):
        in_order = [row for row in table(source_system="litellm") if row["response_id"] in ids]
        shuffled = table(source_system="litellm/shuffled")
        assert billed(shuffled) == billed(in_order)
        assert shuffled
    assert ledger.conflicts(source_system="litellm/shuffled") == []
    assert counted["created"] == len(ledger.receipts(source_system="litellm/shuffled"))


def test_CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID_a_thousand_posts_are_one(
    deployment: Deployment, topics: Topics, ledger: Ledger
) -> None:
    file = "concurrent-batch.json"  # receipts, a free model and deferrals in one body
    start = topics.ends(TOPIC)
    deployment.accept(captures.body(file))
    before = wait_until_counted(deployment, topics, start)
    first, middle = ledger.snapshot(), topics.ends(TOPIC)
    hundred = captures.array(captures.elements(file) * 100)
    for _ in range(10):
        deployment.accept(hundred)
    counted = added(before, wait_until_counted(deployment, topics, middle))
    assert sum(counted.values()) == 6_000
    assert counted.get("created", 0) == 0
    assert ledger.snapshot() == first
