"""Deferred calls of which the topic has nothing any more are settled like any other."""

import json
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.headers import RECEIVED_AT
from tests.brokers.broker import missing_for_apache
from tests.inputs.callbacks import element
from tests.processes.consuming import CALLBACKS, Consuming
from tests.waiting import NET_SECONDS, eventually

pytestmark = pytest.mark.skipif(
    bool(missing_for_apache()), reason="noida-db does not delete records"
)

LONG_AGO = timedelta(days=30)
RULE = {"BILLING_BREAKDOWN_MODELS": "gpt-*"}


def forget(consuming: Consuming) -> None:
    """What retention does with everything that is on the topic now."""
    name = f"{consuming.prefix}{CALLBACKS}"
    ends = consuming.topics.ends(CALLBACKS)
    everything = [TopicPartition(name, partition, end) for partition, end in ends.items()]
    admin = AdminClient({"bootstrap.servers": consuming.bootstrap})
    for answer in admin.delete_records(everything).values():
        answer.result(NET_SECONDS)


def defer(consuming: Consuming, ended: float, **fields: object) -> None:
    """Have a call of that time deferred, and the topic forget it."""
    moment = datetime.fromtimestamp(ended, UTC).isoformat(timespec="milliseconds").encode()
    times = {"startTime": ended - 2, "completionStartTime": ended - 1, "endTime": ended}
    value = element(response_cost=0, **times, **fields)
    consuming.send(value, source="litellm/eu", headers=[(RECEIVED_AT, moment)])
    consuming.all_committed()
    with psycopg.connect(consuming.database_url) as connection:
        connection.execute(
            "UPDATE billing.deferred_calls SET deferred_at = to_timestamp(%s)", [ended]
        )
    forget(consuming)


def test_a_deferral_of_30_days_ago_is_settled_although_the_topic_has_forgotten_it(
    consuming: Consuming,
) -> None:
    member = consuming.member()
    ended = float(round(time.time() - LONG_AGO.total_seconds()))
    defer(consuming, ended, request_tags=["nightly"])
    said = consuming.command(
        *("deferred", "settle", "call-1", "--cost", "0.0021", "--note", "invoice", "--by", "ada")
    )
    assert "the consumer will write the receipt" in said
    eventually(lambda: len(consuming.tables.receipts()) == 1, "the settled receipt")
    receipt = consuming.tables.receipt()
    assert (receipt["cost_source"], receipt["cost_text"]) == ("operator", "0.0021")
    assert (receipt["source_system"], receipt["tags"]) == ("litellm/eu", ["nightly"])
    assert receipt["occurred_at"].timestamp() == ended
    assert receipt["latency_ms"] == 2_000
    assert "odd_time" not in receipt["marks"]
    consuming.all_committed()
    consuming.every_receipt_is_published_once(1)
    [step] = json.loads(consuming.command("deferred", "history", "call-1", "--json"))
    assert (step["from"], step["to"], step["resolution"]) == ("open", "settled", "settled")
    assert (step["by"], step["note"]) == ("ada", "invoice")
    assert member.end() == 0


def test_a_rule_that_is_switched_on_settles_what_is_old_with_its_cost_breakdown(
    consuming: Consuming,
) -> None:
    member = consuming.member()
    ended = float(round(time.time() - LONG_AGO.total_seconds()))
    fields = {"model_group": "gpt-4o", "cost_breakdown": {"total_cost": 0.0123}}
    defer(consuming, ended, **fields)
    off = json.loads(consuming.command("deferred", "apply-rule", "--apply", "--json"))
    assert off == []
    [shown] = json.loads(consuming.command("deferred", "apply-rule", "--json", **RULE))
    assert (shown["done"], shown["cost_usd"]) == ("shown", "0.0123")
    assert consuming.tables.receipts() == []
    young = {**RULE, "BILLING_BREAKDOWN_AFTER_HOURS": str(24 * 31)}
    assert json.loads(consuming.command("deferred", "apply-rule", "--json", **young)) == []
    [sent] = json.loads(consuming.command("deferred", "apply-rule", "--apply", "--json", **RULE))
    assert (sent["done"], sent["call_key"]) == ("sent", "call-1|chatcmpl-1")
    eventually(lambda: len(consuming.tables.receipts()) == 1, "the receipt of the rule")
    receipt = consuming.tables.receipt()
    assert (receipt["cost_source"], receipt["cost_text"]) == ("cost_breakdown", "0.0123")
    [row] = consuming.tables.deferred()
    assert (row["resolution"], row["resolution_note"]) == (
        "cost_breakdown",
        "BILLING_BREAKDOWN_MODELS",
    )
    assert json.loads(consuming.command("deferred", "apply-rule", "--json", **RULE)) == []
    assert member.end() == 0
