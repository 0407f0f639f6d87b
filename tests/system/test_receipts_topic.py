"""What other teams read: each receipt once, as a CloudEvent, without content."""

import json
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.inputs import captures
from tests.inputs.captures import Calls
from tests.observers.deployment import Deployment
from tests.observers.ledger import TABLES, Ledger
from tests.observers.topics import TopicRecord, Topics
from tests.waiting import eventually

RECEIPTS = "billing.receipts.v1"
CONTENT_FIELDS = ("messages", "response", "model_parameters", "error_str", "user_agent")


def receipts_of(topics: Topics, before: dict[int, int], run: str) -> list[TopicRecord]:
    """The events of a run since `before`, in order of publication per partition."""
    return [record for record in topics.since(RECEIPTS, before) if record.key == run.encode()]


def test_RECEIPTS_PUBLISHED_EXACTLY_ONCE_each_receipt_is_one_event(
    deployment: Deployment, topics: Topics, ledger: Ledger, calls: Calls
) -> None:
    before = topics.ends(RECEIPTS)
    run = calls.name("run")
    paid = [calls.in_run(run).element for _ in range(30)]
    deferred = calls.in_run(run, response_cost=0.0).element
    for _ in range(3):
        deployment.accept(captures.array([*paid, deferred]))
    topics.wait_until_consumed()
    rows = {str(row["id"]): row for row in ledger.receipts(run_id=run)}
    assert len(rows) == 30
    events = eventually(lambda: receipts_of(topics, before, run), "the run's receipts", 20)
    assert sorted(event.headers["ce_id"].decode() for event in events) == sorted(rows)
    for event in events:
        row, told = rows[event.headers["ce_id"].decode()], json.loads(event.value)
        assert told["call_key"] == row["call_key"]
        assert told["response_cost_usd"] == row["cost_text"] == "0.000036"
        assert Decimal(told["charged_usd"]) == row["charged_usd"]
        assert told["charged_credits"] == row["charged_credits"]
        assert told["billing_account_id"] == row["billing_account_id"]


def test_an_event_is_a_cloudevent_in_binary_mode(
    deployment: Deployment, topics: Topics, calls: Calls
) -> None:
    before = topics.ends(RECEIPTS)
    run = calls.name("run")
    deployment.accept(captures.array([calls.in_run(run).element]))
    topics.wait_until_consumed()
    (event,) = receipts_of(topics, before, run)
    assert event.headers["ce_specversion"] == b"1.0"
    assert event.headers["ce_type"] == b"billing.receipt.created.v1"
    assert event.headers["ce_source"]
    assert event.headers["ce_time"]
    assert event.headers["content-type"].startswith(b"application/json")
    assert event.headers["ce_id"].decode() == json.loads(event.value)["id"]


def test_NO_CONTENT_IN_RECEIPTS_in_no_event_and_in_no_table(
    deployment: Deployment, topics: Topics, calls: Calls
) -> None:
    canary = calls.name("canary")

    def whisper(event: dict[str, Any]) -> None:
        for field in CONTENT_FIELDS:
            event[field] = canary
        event["messages"] = [{"role": "user", "content": canary}]
        event["response"] = {"choices": [{"message": {"content": canary}}]}
        event["error_information"] = {"traceback": canary, "error_message": canary}
        metadata = event["metadata"]
        metadata["requester_metadata"] = {"note": canary}
        metadata["requester_custom_headers"] = {"x-secret": canary}
        metadata["requester_ip_address"] = canary
        metadata["spend_logs_metadata"]["note"] = canary

    before = topics.ends(RECEIPTS)
    paid, zero = calls.altered(whisper), calls.altered(whisper, response_cost=0.0)
    deployment.accept(captures.array([paid.element, zero.element]))
    topics.wait_until_consumed()
    events = topics.since(RECEIPTS, before)
    assert events
    assert not [event for event in events if canary.encode() in event.value]
    assert not [event for event in events if canary.encode() in b"".join(event.headers.values())]
    with psycopg.connect(deployment.database_url) as connection:
        for table in TABLES:
            query = f"SELECT count(*) FROM billing.{table} t WHERE t::text LIKE %s"  # noqa: S608
            assert connection.execute(query.encode(), [f"%{canary}%"]).fetchone() == (0,), table


@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("charge_receipts", "call_key"),
        ("charge_receipts", "model"),
        ("llm_charge_details", "model"),
        ("former_charge_details", "model"),
    ],
)
def test_RECEIPTS_ARE_IMMUTABLE_the_database_refuses_a_change(
    deployment: Deployment, statement: str, table: str, column: str
) -> None:
    query = statement.format(f"billing.{table}", column, column)
    with psycopg.connect(deployment.database_url) as connection:
        refused = (
            psycopg.errors.RestrictViolation,
            psycopg.errors.FeatureNotSupported,
            # A view cannot be truncated.
            psycopg.errors.WrongObjectType,
        )
        with pytest.raises(refused):
            connection.execute(query.encode())
        connection.rollback()
