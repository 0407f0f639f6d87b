"""The receipt event: a valid CloudEvent, money as text, and nothing of what was said."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, to_binary_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from charging.outcomes import Charge, Deferred, Parked
from ledger.rows import deferred_row, receipt_row
from schemas.cloud_event import EventRecord
from schemas.receipt import (
    EVENT_TYPE,
    NAMESPACE,
    PLAIN_DECIMAL,
    Receipt,
    plain,
    receipt_id,
    to_kafka,
)
from tests.inputs import captures
from tests.inputs.callbacks import NUMBER, charged, element, record, verdict

CANARY = "canary-7f3a"
BILLED_TEXTS = {
    "id", "litellm_call_id", "call_type", "custom_llm_provider", "model", "model_group", "status",
    "end_user", "request_tags",
}  # fmt: skip
"""Top-level fields that are copied to the receipt on purpose."""
BILLED_METADATA = {
    "spend_logs_metadata", "user_api_key_team_id", "user_api_key_user_id", "user_api_key_alias",
    "user_api_key_team_alias", "user_api_key_org_id",
}  # fmt: skip
BILLED_HEADERS = {"llm_provider-x-request-id", "x-litellm-end-user-id"}


def event(receipt: Receipt) -> tuple[EventRecord, BaseCloudEvent]:
    """The record of a receipt, and what the SDK of a subscriber makes of it."""
    message = to_kafka(receipt)
    return message, from_binary_event(KafkaMessage(message.headers, message.key, message.value))


def test_the_event_is_a_cloudevent_in_binary_mode() -> None:
    receipt = charged(element()).receipt
    message, read = event(receipt)
    assert message.key == "run-1"
    assert set(message.headers) == {
        "ce_id", "ce_source", "ce_type", "ce_specversion", "ce_subject", "ce_time",
        "ce_partitionkey", "content-type",
    }  # fmt: skip
    assert message.headers["content-type"] == b"application/json"
    assert read.get_type() == EVENT_TYPE
    assert read.get_specversion() == "1.0"
    assert read.get_id() == str(receipt.id)
    assert read.get_source() == "/billing/litellm"
    assert read.get_subject() == "acct-1"
    assert read.get_time() == receipt.occurred_at
    assert read.get_extension("partitionkey") == "run-1"
    assert msgspec.convert(read.get_data(), Receipt) == receipt


@given(
    source=st.text(min_size=1),
    account=st.text(min_size=1),
    run=st.text(min_size=1),
    at=st.datetimes(timezones=st.just(UTC)),
)
def test_the_record_is_what_the_sdk_of_cloudevents_writes(
    source: str, account: str, run: str, at: datetime
) -> None:
    receipt = replace(
        charged(element()).receipt,
        source_system=source,
        billing_account_id=account,
        run_id=run,
        occurred_at=at,
    )
    written = to_binary_event(
        CloudEvent(
            attributes={
                "id": str(receipt.id),
                "source": f"/billing/{source}",
                "type": EVENT_TYPE,
                "specversion": "1.0",
                "subject": account,
                "time": at,
                "datacontenttype": "application/json",
                "partitionkey": run,
            },
            data={},
        )
    )
    message = to_kafka(receipt)
    assert list(message.headers.items()) == list(written.headers.items())
    assert message.key == written.key


@given(
    st.decimals(min_value=0, max_value=10**9, allow_nan=False, allow_infinity=False)
    | st.sampled_from([Decimal("-0.0"), Decimal("0E+3"), Decimal("1E-400"), Decimal("-0E-7")])
)
def test_every_amount_has_the_pattern_of_the_schema_and_its_value(amount: Decimal) -> None:
    assert re.fullmatch(PLAIN_DECIMAL.strip("^$"), plain(amount))
    assert Decimal(plain(amount)) == amount


@pytest.mark.parametrize("odd", ["läuft", "a b", "\N{ROCKET}", "100%", 'say "x"', "a\r\nb", "%0A"])
def test_odd_names_survive_the_headers(odd: str) -> None:
    value = element(end_user=odd, metadata={"spend_logs_metadata": {"run_id": odd}})
    receipt = charged(value).receipt
    message, read = event(receipt)
    assert read.get_subject() == odd
    assert read.get_extension("partitionkey") == odd
    assert message.key == odd
    assert message.headers["ce_subject"] == odd.encode()


@pytest.mark.parametrize(
    ("sent", "cost"),
    [
        ("4.95e-06", "0.00000495"),
        ("1E+2", "100"),
        ("0.00033000000000000005", "0.00033000000000000005"),
        ("1.234567890123456789012345678901234", "1.234567890123456789012345678901234"),
    ],
)
def test_MONEY_IS_EXACT_and_text_in_plain_notation(sent: str, cost: str) -> None:
    message, _ = event(charged(element(sent, response_cost=NUMBER)).receipt)
    data = json.loads(message.value)
    assert data["response_cost_usd"] == cost
    assert data["charged_usd"] == cost
    assert type(data["charged_credits"]) is int


def test_a_rebuilt_ledger_has_the_ids_that_subscribers_know() -> None:
    first, again = charged(element()).receipt, charged(element(response_cost=5)).receipt
    assert first.id == again.id == receipt_id("litellm", "call-1|chatcmpl-1")
    assert receipt_id("litellm", "a") == UUID("5d44d3b6-e53a-53fd-b9d6-13f832961c11")


@given(st.text(), st.text())
def test_the_id_of_a_receipt_is_a_uuid_of_version_5(source: str, call_key: str) -> None:
    assert receipt_id(source, call_key) == uuid5(NAMESPACE, f"{source}\0{call_key}")


def places(value: object) -> Iterator[tuple[Any, Any]]:
    """Every container and key or index at which a payload holds a text."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)  # type: ignore[arg-type]
    for key, inner in list(pairs):
        if isinstance(inner, dict | list):
            yield from places(inner)
        elif isinstance(inner, str) or inner is None:
            yield value, key


def without_billed(event_: dict[str, Any]) -> dict[str, Any]:
    """The parts of a payload that billing has no business with."""
    parts = {name: part for name, part in event_.items() if name not in BILLED_TEXTS}
    metadata = {k: v for k, v in event_["metadata"].items() if k not in BILLED_METADATA}
    return {**parts, "metadata": metadata}


@pytest.mark.parametrize("file", captures.files())
def test_NO_CONTENT_IN_RECEIPTS_nor_in_rows_nor_in_refusals(file: str) -> None:
    """A canary in every place that may hold content comes out of none of the decisions."""
    for value in captures.elements(file):
        whole = json.loads(value)
        planted = 0
        for container, key in places(without_billed(whole)):
            if key not in BILLED_HEADERS:
                container[key] = f"{CANARY} {container[key]}"
                planted += 1
        for name in ("messages", "response", "model_parameters", "error_str", "user_agent"):
            whole[name] = f"{CANARY} {whole.get(name)}"
        whole["metadata"]["requester_metadata"] = {"headers": {CANARY: CANARY}}
        assert planted > 5, file
        sent = json.dumps(whole).encode()
        decision = verdict(sent)
        taken = record(sent)
        shown = [repr(decision)]
        if isinstance(decision, Charge):
            message = to_kafka(decision.receipt)
            shown += [repr(message), repr(receipt_row(taken, decision, 1))]
        elif isinstance(decision, Deferred):
            shown += [repr(deferred_row(0, taken, decision, None))]
        else:
            assert not isinstance(decision, Parked), file
        assert CANARY not in "".join(shown)


def test_the_time_of_an_event_carries_its_zone() -> None:
    message, _ = event(charged(element(endTime=1_795_312_942.75)).receipt)
    assert json.loads(message.value)["occurred_at"] == "2026-11-22T02:02:22.750000Z"
    assert datetime.fromisoformat(message.headers["ce_time"].decode()) == datetime(
        2026, 11, 22, 2, 2, 22, 750_000, UTC
    )


def test_an_amount_read_back_from_an_event_is_the_same_decimal() -> None:
    receipt = charged(element("1.250e-06", response_cost=NUMBER)).receipt
    read = msgspec.json.decode(to_kafka(receipt).value, type=Receipt)
    assert str(read.response_cost_usd) == str(Decimal("0.000001250"))
