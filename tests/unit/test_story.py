"""The story of a call, put together of rows and of what was found in Kafka."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from charging.outcomes import DeferredReason, Resolution, SkippedReason
from ledger.calls import Books
from operator_cli.sightings import Letter, Seen, Sought, letter_of, seen_of
from operator_cli.story import Evidence, stories
from operator_cli.words import CHARGED, CLOSED, DEFERRED, PARKED, SKIPPED
from schemas.headers import CALL_KEY, ORIGINAL_OFFSET, ORIGINAL_PARTITION, ORIGINAL_TOPIC, Reason
from schemas.receipt import ChargeReason
from tests.inputs.callbacks import CALLBACKS, element, policy, record

NOW = datetime(2026, 11, 26, tzinfo=UTC)
KEY = "call-1|chatcmpl-1"


def receipt(offset: int = 5, **columns: object) -> dict[str, Any]:
    """A row of a receipt."""
    return {
        "id": "id",
        "source_system": "litellm",
        "call_key": KEY,
        "litellm_call_id": "call-1",
        "response_id": "chatcmpl-1",
        "run_id": "run-1",
        "attempt": 0,
        "billing_account_id": "acme",
        "response_cost_usd": Decimal("1E-7"),
        "charged_usd": Decimal("2E-7"),
        "charged_credits": Decimal(2),
        "charge_reason": "usage",
        "marks": [],
        "cost_source": "litellm_callback",
        "kafka_topic": CALLBACKS,
        "kafka_partition": 0,
        "kafka_offset": offset,
        **columns,
    }


def deferral(offset: int = 5, **columns: object) -> dict[str, Any]:
    """A row of a deferral that is open."""
    return {
        "source_system": "litellm",
        "call_key": KEY,
        "litellm_call_id": "call-1",
        "response_id": "chatcmpl-1",
        "run_id": "run-1",
        "reason": "missing_cost",
        "resolution": None,
        "resolved_by": None,
        "resolution_note": None,
        "result_key": None,
        "kafka_topic": CALLBACKS,
        "kafka_partition": 0,
        "kafka_offset": offset,
        **columns,
    }


def conflict(offset: int) -> dict[str, Any]:
    """A row of a conflict."""
    return receipt(offset, response_cost_usd=Decimal("0.5"))


def seen(offset: int, outcome: str = "receipt", reason: str = "usage") -> Seen:
    """A callback of the call, in partition 0."""
    return Seen((CALLBACKS, 0, offset), NOW, "litellm", KEY, "run-1", outcome, reason)


def told(
    *callbacks: Seen,
    letters: tuple[Letter, ...] = (),
    read_to: int = 100,
    receipts: tuple[dict[str, Any], ...] = (),
    deferrals: tuple[dict[str, Any], ...] = (),
    conflicts: tuple[dict[str, Any], ...] = (),
    units: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    """The one call of which this tells."""
    books = Books(
        receipts=list(receipts),
        deferrals=list(deferrals),
        conflicts=list(conflicts),
        units=list(units),
        positions={(CALLBACKS, 0): read_to},
    )
    [one] = stories(Evidence(books, callbacks, letters, searched=True))
    return one


def sentence(one: dict[str, Any]) -> str:
    """What is said to people."""
    return " ".join(one["says"])


def test_each_callback_of_a_charged_call_has_its_fate() -> None:
    one = told(
        seen(5), seen(6), seen(7), seen(200), receipts=(receipt(5),), conflicts=(conflict(7),)
    )
    assert [each["outcome"] for each in one["callbacks"]] == [
        *("receipt", "duplicate", "conflict", "waiting")
    ]
    assert (one["outcome"], one["duplicates"], len(one["conflicts"])) == ("receipt", 1, 1)
    assert "Charged 0.0000002 USD (2 credits) to account acme" in sentence(one)
    assert "It came 1 more time: duplicates" in sentence(one)
    assert "contradicts the receipt: 0.5 USD" in sentence(one)


@pytest.mark.parametrize(
    ("callback", "read_to", "outcome", "words"),
    [
        (seen(5), 5, "waiting", "The consumer has not read the callback at"),
        (seen(5), 6, "missing", "billing replay --from-offset 0:5"),
        (seen(5, "skipped", "self_test"), 6, "skipped", "LiteLLM's own test of the callback"),
        (seen(5, "skipped", "self_test"), 5, "waiting", "has not read the callback at"),
        (seen(5, "parked", "unreadable"), 6, "parked", "not JSON that can be read"),
    ],
)
def test_a_call_without_a_row_is_told_by_its_callback(
    callback: Seen, read_to: int, outcome: str, words: str
) -> None:
    one = told(callback, read_to=read_to)
    assert one["outcome"] == outcome
    assert words in sentence(one)
    assert one["duplicates"] == 0


def test_a_row_says_whose_callback_it_is_also_where_it_is_decided_otherwise_today() -> None:
    today = replace(seen(5, "skipped", "no_usage"), call_key="another")
    one = told(today, deferrals=(deferral(5),))
    assert (one["outcome"], one["callbacks"][0]["outcome"]) == ("deferred", "deferred")
    assert one["callbacks"][0]["decided_anew"] == "skipped no_usage"


def test_a_closed_deferral_says_who_closed_it_and_an_open_one_what_to_do() -> None:
    assert "What to do: look for the price" in sentence(told(deferrals=(deferral(),)))
    closed = deferral(resolution="waived", resolved_by="ada", resolution_note="ours")
    one = told(deferrals=(closed,))
    assert "Closed by ada (ours): a person waived it" in sentence(one)
    assert "What to do" not in sentence(one)


def test_the_cost_of_a_settled_call_is_a_persons_and_not_litellms() -> None:
    assert "LiteLLM said what the call cost" in sentence(told(receipts=(receipt(),)))
    settled = sentence(told(receipts=(receipt(cost_source="operator"),)))
    assert "a person said what the call cost" in settled
    assert "LiteLLM" not in settled


def test_a_record_that_postgresql_refused_is_parked_and_not_missing() -> None:
    letter = Letter("1:3", NOW, "litellm", "odd", "unstorable", "", (CALLBACKS, 0, 5))
    one = told(seen(5), letters=(letter,))
    assert (one["outcome"], one["reason"]) == ("parked", "unstorable")
    assert "billing dead-letters show 1:3" in sentence(one)


def test_a_usage_unit_of_an_unknown_call_says_that_no_callback_came() -> None:
    unit = {"litellm_call_id": "call-9", "response_id": None}
    one = told(units=(unit,))
    assert one["outcome"] == "unknown"
    assert "No callback of it is known" in sentence(one)
    known = told(units=({"litellm_call_id": "call-1", "response_id": None},), receipts=(receipt(),))
    assert len(known["usage_units"]) == 1


def test_without_kafka_nothing_is_said_about_duplicates() -> None:
    [one] = stories(Evidence(Books(receipts=[receipt()])))
    assert one["duplicates"] is None


def test_every_reason_has_its_sentence() -> None:
    assert set(CHARGED) == set(ChargeReason)
    assert set(DEFERRED) == set(DeferredReason)
    assert set(SKIPPED) == set(SkippedReason)
    assert set(PARKED) == set(Reason)
    assert set(CLOSED) == set(Resolution)


@pytest.mark.parametrize("name", ["call-1", "chatcmpl-1", "run-1", KEY])
def test_a_record_is_of_the_call_by_any_of_its_names(name: str) -> None:
    assert Sought(name, (), ()).fits(record(element()))
    other = element(id="other", litellm_call_id="other", metadata={})
    assert not Sought(name, (), ()).fits(record(other))


def test_a_name_in_a_prompt_is_no_name_of_the_call() -> None:
    prompt = [{"role": "user", "content": "what became of call-7?"}]
    assert not Sought("call-7", (), ()).fits(record(element(messages=prompt)))


def test_a_record_is_of_the_call_by_its_place_or_its_header_too() -> None:
    torn = record(b"{torn", offset=9, headers=[(CALL_KEY, KEY.encode())])
    assert Sought(KEY, (), ()).fits(torn)
    assert Sought("x", [KEY], ()).fits(torn)
    assert Sought("x", (), [torn.provenance]).fits(torn)
    assert not Sought("x", (), ()).fits(torn)


def test_an_id_that_json_escapes_is_found() -> None:
    assert Sought('é"x', (), ()).fits(record(element(litellm_call_id='é"x')))
    raw = json.dumps({"id": 'é"x', "litellm_call_id": "c"}, ensure_ascii=False).encode()
    assert Sought('é"x', (), ()).fits(record(raw))


def test_a_callback_is_decided_anew_and_a_letter_read() -> None:
    found = seen_of(record(element(status="failure", response_cost=0.0), offset=3), policy())
    assert (found.outcome, found.reason, found.call_key) == ("skipped", "failed_call", KEY)
    stood = [(ORIGINAL_TOPIC, b"t"), (ORIGINAL_PARTITION, b"2"), (ORIGINAL_OFFSET, b"7")]
    letter = letter_of(record(element(status=None), headers=stood))
    assert (letter.call_key, letter.stood) == (KEY, ("t", 2, 7))
    assert letter_of(record(b"{torn", offset=8)).stood is None


@pytest.mark.parametrize(
    ("spend", "sentence"),
    [
        ({"runId": "r"}, "Run id missing: the metadata says `runId`; write `run_id`."),
        ({"run_id": "r", "graphId": "g"}, "The metadata says `graphId`; write `graph_id`."),
    ],
)
def test_a_misspelt_name_is_said_with_the_right_one(spend: object, sentence: str) -> None:
    value = element(metadata={"spend_logs_metadata": spend})
    found = seen_of(record(value, offset=5), policy())
    marked = receipt(marks=["attribution_misspelt", "unattributed_run"])
    assert sentence in told(found, receipts=(marked,))["says"]
    assert not [one for one in told(found, receipts=(marked,))["says"] if "`runId`, and" in one]
    # Where the callback is not looked for, the mark tells what it can.
    (known,) = [one for one in told(receipts=(marked,))["says"] if "`runId`" in one]
    assert "write `run_id`" in known
    # A call without a receipt has no mark.
    assert sentence in told(replace(found, outcome="deferred"), deferrals=(deferral(),))["says"]


def test_metadata_that_is_no_json_is_said() -> None:
    said = told(receipts=(receipt(marks=["attribution_unreadable", "unattributed_run"]),))["says"]
    assert [one for one in said if "x-litellm-spend-logs-metadata that is no JSON" in one]
