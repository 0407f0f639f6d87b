"""Order, batching and repetition change nothing, and every record is counted once."""

import random

import pytest

from tests.services import captures
from tests.services.deployment import Deployment
from tests.services.ledger import Ledger, Row
from tests.services.topics import Topics
from tests.services.waiting import eventually

OUTCOMES = {"created", "duplicate", "conflict", "deferred", "skipped", "parked"}
OWN_OF_A_ROW = {
    "id",
    "charge_receipt_id",
    "source_system",
    "kafka_topic",
    "kafka_partition",
    "kafka_offset",
    "created_at",
    "deferred_at",
}
"""Columns that say when and whence a row came, not what was billed."""


def wait_for_count(deployment: Deployment, before: dict[str, float], posted: int) -> dict[str, int]:
    """What was counted since `before`, once it is as many as were posted (or more)."""

    def counted() -> dict[str, int]:
        now = deployment.outcomes()
        return {name: int(now[name] - before.get(name, 0)) for name in now}

    eventually(lambda: sum(counted().values()) >= posted, f"{posted} counted records")
    return counted()


def billed(rows: list[Row]) -> list[Row]:
    """What the rows say about billing."""
    return [{name: row[name] for name in row.keys() - OWN_OF_A_ROW} for row in rows]


def test_NOTHING_VANISHES_every_record_is_counted_and_repetition_changes_nothing(
    deployment: Deployment, topics: Topics, ledger: Ledger, rng: random.Random
) -> None:
    once = captures.all_elements()
    for batch in captures.batches(once, rng):
        deployment.accept(batch)
    topics.wait_until_consumed()
    first, before = ledger.snapshot(), deployment.outcomes()

    thrice = once * 3
    rng.shuffle(thrice)
    for batch in captures.batches(thrice, rng):
        deployment.accept(batch)
    topics.wait_until_consumed()

    counted = wait_for_count(deployment, before, len(thrice))
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
    for batch in captures.batches(once, rng):
        deployment.accept(batch)
    thrice = once * 3
    rng.shuffle(thrice)
    before = deployment.outcomes()
    for batch in captures.batches(thrice, rng):
        deployment.accept(batch, token=deployment.sources["shuffled"])
    topics.wait_until_consumed()

    ids = {line.response_id for line in captures.expectations()}
    for table in (ledger.receipts, ledger.deferred):
        in_order = [row for row in table(source_system="litellm") if row["response_id"] in ids]
        shuffled = table(source_system="litellm/shuffled")
        assert billed(shuffled) == billed(in_order)
        assert shuffled
    assert ledger.conflicts(source_system="litellm/shuffled") == []
    counted = wait_for_count(deployment, before, len(thrice))
    assert counted["created"] == len(ledger.receipts(source_system="litellm/shuffled"))


def test_CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID_a_thousand_posts_are_one(
    deployment: Deployment, topics: Topics, ledger: Ledger
) -> None:
    file = "concurrent-batch.json"  # receipts, a free model and deferrals in one body
    deployment.accept(captures.body(file))
    topics.wait_until_consumed()
    first, before = ledger.snapshot(), deployment.outcomes()
    hundred = captures.array(captures.elements(file) * 100)
    for _ in range(10):
        deployment.accept(hundred)
    topics.wait_until_consumed()
    counted = wait_for_count(deployment, before, 6_000)
    assert sum(counted.values()) == 6_000
    assert counted.get("created", 0) == 0
    assert ledger.snapshot() == first
