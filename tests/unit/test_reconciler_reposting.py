"""A row becomes the callback that was lost: the same call, the same money, whoever comes first."""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.charge import content_hash
from charging.outcomes import Charge, Decision, Deferred, DeferredReason, Skipped
from charging.repeats import repeats
from demo.spend_log_rows import paged, row_of
from reconciler.reposting import Unidentified, callback_of, key_of, response_id
from reconciler.row import SpendLog, read_row
from schemas.callback import RECONCILER
from schemas.identity import BATCH_RETRIEVES
from schemas.reader import read_callback
from schemas.receipt import ChargeReason, Receipt
from tests.inputs import spend_log_captures as captures
from tests.inputs.background import finished
from tests.inputs.callbacks import charged, costing, element, payload, verdict

UNKNOWN_TO_A_ROW = {"stream", "ttft_ms", "marks", "cost_source"}
NEARLY = {"occurred_at", "latency_ms"}


def row(**fields: object) -> SpendLog:
    """A row of a plain paid call; `fields` replace those that the route shows."""
    found = read_row(json.dumps({**_shown(), **fields}).encode())
    assert isinstance(found, SpendLog), found
    return found


def pairs(version: str) -> Iterator[tuple[SpendLog, bytes]]:
    """Each captured row, and the callback of its call."""
    by_id = {}
    for callback in captures.callbacks(version):
        named = read_callback(callback).callback
        by_id[named.litellm_call_id, str(named.id).partition("_cache_hit")[0]] = callback
    for sent in captures.rows(version):
        found = read_row(sent)
        assert isinstance(found, SpendLog)
        yield found, by_id[found.litellm_call_id, response_id(found)]


def unlike(one: Receipt, other: Receipt) -> dict[str, tuple[Any, Any]]:
    """The fields in which two receipts differ."""
    first, second = msgspec.structs.asdict(one), msgspec.structs.asdict(other)
    return {
        name: (first[name], second[name]) for name in first if first[name] != second[name]
    }  # fmt: skip


PAIRS = [(version, *pair) for version in captures.VERSIONS for pair in pairs(version)]
KEYED = [one for one in PAIRS if not isinstance(key_of(one[1]), Unidentified)]


def test_all_captures_but_the_cache_hits_have_the_key_of_their_callback() -> None:
    assert len(PAIRS) == 66
    assert [key_of(found) for _, found, _ in PAIRS if found.cache_hit] == ["cache_hit"] * 2
    assert len(KEYED) == 64
    for _, found, callback in KEYED:
        key = read_callback(callback).identity.call_key
        assert key_of(found) == key == read_callback(callback_of(found)).identity.call_key


@pytest.mark.parametrize(("version", "found", "callback"), KEYED)
def test_ONE_CALL_ONE_RECEIPT_WHICHEVER_PATH_a_row_is_decided_as_its_callback(
    version: str, found: SpendLog, callback: bytes
) -> None:
    of_row, of_callback = verdict(callback_of(found)), verdict(callback)
    assert type(of_row) is type(of_callback)
    match of_row, of_callback:
        case Charge(), Charge():
            _the_same(version, of_row, of_callback)
        case Deferred(), Deferred():
            assert of_row.call_key == of_callback.call_key
            assert of_row.reason == of_callback.reason
        case _:
            assert isinstance(of_row, Skipped)
            assert of_row == of_callback


def _the_same(version: str, of_row: Charge, of_callback: Charge) -> None:
    differing = unlike(of_row.receipt, of_callback.receipt)
    if version == "1.109.1" and "response_cost_usd" in differing:
        assert str(of_row.receipt.response_cost_usd) == "0.0003300000000000001"
        assert str(of_callback.receipt.response_cost_usd) == "0.00033000000000000005"
        del differing["response_cost_usd"], differing["charged_usd"]
    assert differing.keys() <= UNKNOWN_TO_A_ROW | NEARLY
    marked = set(of_row.receipt.marks) ^ set(of_callback.receipt.marks)
    assert marked - {"lenient_json"} == {RECONCILER}
    apart = of_row.receipt.occurred_at - of_callback.receipt.occurred_at
    assert abs(apart.total_seconds()) < 0.002
    for late, early in ((of_row, of_callback), (of_callback, of_row)):
        assert repeats(late, early.content_hash, early.receipt.response_cost_usd)


def test_the_mark_says_from_where_and_a_callback_of_litellm_has_none() -> None:
    assert RECONCILER in charged(callback_of(row())).receipt.marks
    assert RECONCILER not in charged(element()).receipt.marks
    assert RECONCILER not in charged(element(source="somebody")).receipt.marks
    # No client can set it: what it sends is deeper.
    said = {"spend_logs_metadata": {"source": RECONCILER}, "source": RECONCILER}
    assert RECONCILER not in charged(element(metadata=said)).receipt.marks


def test_MONEY_IS_EXACT_the_cost_of_a_callback_is_the_text_of_the_row() -> None:
    for text in (
        "0.00033000000000000005",
        "0.123456789012345678901",
        "4.8e-05",
        "1e-30",
        "12",
        "0",
    ):
        found = read_row(json.dumps({**_shown(), "spend": 0.125}).replace("0.125", text).encode())
        assert isinstance(found, SpendLog)
        assert read_callback(callback_of(found)).callback.response_cost == Decimal(text)


def _shown() -> Mapping[str, Any]:
    return paged(row_of({**payload(), "total_tokens": 150}, "1.110.2"))


KEYS = [
    ("a chat", row(), "call-1|chatcmpl-1"),
    ("a failure, with the call's own id", row(request_id="call-1", status="failure", spend=0),
     "call-1|call-1"),
    ("a retrieved batch", row(request_id="batch_1_batch_cost", call_type="aretrieve_batch"),
     "batch_1"),
    ("of a proxy that adds nothing to it", row(request_id="batch_1", call_type="aretrieve_batch"),
     "batch_1"),
    ("a retrieved batch without a call id",
     row(request_id="batch_1_batch_cost", call_type="aretrieve_batch", litellm_call_id=None,
         metadata={}), "batch_1"),
    ("the create of a batch", row(request_id="batch_1", call_type="acreate_batch", spend=0),
     "call-1|batch_1"),
    ("an id that only looks like a batch", row(request_id="x_batch_cost"), "call-1|x_batch_cost"),
    ("an id that only looks like a hit", row(request_id="x_cache_hit1.5"), "call-1|x_cache_hit1.5"),
    ("no call id", row(litellm_call_id=None, metadata={}), Unidentified.NO_CALL_ID),
    ("a cache hit", row(request_id="x_cache_hit1.5", cache_hit="True", spend=0),
     Unidentified.CACHE_HIT),
    ("a cache hit with a price", row(request_id="x_cache_hit1.5", cache_hit="True"),
     Unidentified.CACHE_HIT),
    ("a read with a cost", row(call_type="aget_responses"), Unidentified.BACKGROUND),
    ("a read without one", row(call_type="aget_responses", spend=0), "call-1|chatcmpl-1"),
    ("a response that is queued",
     row(call_type="aresponses", spend=0, prompt_tokens=0, completion_tokens=0, total_tokens=0),
     Unidentified.BACKGROUND),
    ("a response", row(call_type="aresponses"), "call-1|chatcmpl-1"),
    ("a response that failed",
     row(call_type="aresponses", spend=0, status="failure", prompt_tokens=0, completion_tokens=0,
         total_tokens=0), "call-1|chatcmpl-1"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "key"), [case[1:] for case in KEYS], ids=[c[0] for c in KEYS])
def test_the_key_of_a_row(found: SpendLog, key: str | Unidentified) -> None:
    assert key_of(found) == key
    assert type(key_of(found)) is type(key)


def test_rows_of_other_kinds_have_the_key_of_their_callback() -> None:
    for built in captures.built_rows():
        found = read_row(built.row)
        assert isinstance(found, SpendLog)
        assert response_id(found) == built.callback_id.partition("_cache_hit")[0]


ids = st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip()))
call_types = st.sampled_from(
    ["acompletion", "aresponses", "aretrieve_batch", "acreate_batch", "aget_responses", "ocr", ""]
)


@given(ids, ids, call_types, st.sampled_from([0.0, 0.25]), st.sampled_from(["hit", "", None]))
def test_ONE_CALL_ONE_RECEIPT_WHICHEVER_PATH_whatever_the_ids_are(
    id_: str, call_id: str, call_type: str, cost: float, hit: str | None
) -> None:
    answered = f"{id_}_cache_hit1795670736.6" if hit else id_
    callback = payload(
        id=answered, litellm_call_id=call_id, call_type=call_type, response_cost=cost,
        cache_hit=None if hit is None else bool(hit), total_tokens=150,
    )  # fmt: skip
    found = read_row(json.dumps(paged(row_of(callback, "1.109.1"))).encode())
    assert isinstance(found, SpendLog)
    key = key_of(found)
    if not isinstance(key, Unidentified):
        sent = read_callback(json.dumps(callback).encode()).identity
        assert read_callback(callback_of(found)).identity == sent
        assert key == sent.call_key


@given(st.floats(min_value=1e-9, max_value=100))
def test_a_late_callback_repeats_the_receipt_of_its_row_and_never_contradicts_it(
    cost: float,
) -> None:
    callback = payload(response_cost=cost, total_tokens=150)
    found = read_row(json.dumps(paged(row_of(callback, "1.109.1"))).encode())
    assert isinstance(found, SpendLog)
    first, late = charged(callback_of(found)), charged(json.dumps(callback).encode())
    assert first.receipt.id == late.receipt.id
    assert repeats(late, first.content_hash, first.receipt.response_cost_usd)
    assert repeats(first, late.content_hash, late.receipt.response_cost_usd)


def test_the_callback_of_a_response_done_at_once_repeats_the_receipt_of_its_row() -> None:
    sent = json.loads(finished())
    found = read_row(json.dumps(paged(row_of({"total_tokens": 150, **sent}, "1.110.2"))).encode())
    assert isinstance(found, SpendLog)
    first, late = charged(callback_of(found)), charged(json.dumps(sent).encode())
    assert (first.link, late.link is None) == (None, False)
    assert first.receipt.id == late.receipt.id
    assert repeats(late, first.content_hash, first.receipt.response_cost_usd)
    assert repeats(first, late.content_hash, late.receipt.response_cost_usd)


def test_all_retrieves_of_a_batch_are_one_charge() -> None:
    rows = [read_row(built.row) for built in captures.built_rows()]
    batches = [
        row for row in rows if isinstance(row, SpendLog) and row.call_type in BATCH_RETRIEVES
    ]
    assert len({row.litellm_call_id for row in batches}) == 2
    assert {charged(callback_of(row)).receipt.call_key for row in batches} == {
        "batch_837335b5ac0940619f38"
    }


def test_what_a_row_costs_is_decided_as_its_callback_would_be() -> None:
    assert _of(row(spend=0)) == DeferredReason.SUSPICIOUS_ZERO
    assert _of(row(spend=None)) == DeferredReason.MISSING_COST
    assert _of(row(spend=-1)) == DeferredReason.UNUSABLE_COST
    assert _of(row(model_group="free-1", spend=0)) == ChargeReason.FREE_MODEL
    assert _of(row(status="failure")) == ChargeReason.PARTIAL
    probe = {"user_api_key_alias": "litellm-internal-health-check"}
    assert _of(row(metadata=probe)) == ChargeReason.HEALTH_PROBE
    assert _of(row(call_type="acreate_file", spend=None, prompt_tokens=0, completion_tokens=0)) == (
        "not_billable"
    )


def _of(found: SpendLog) -> object:
    decision: Decision = verdict(callback_of(found))
    if isinstance(decision, Charge):
        return decision.receipt.charge_reason
    return decision.reason if isinstance(decision, Deferred | Skipped) else decision


def test_whose_call_it_is_and_what_its_client_said_is_as_in_the_callback() -> None:
    spend = {
        "run_id": 12,
        "attempt": "3",
        "graph_id": "g",
        "sub_agent_id": "s",
        "tool_call_id": "t",
    }
    for callback in (
        payload(metadata={"spend_logs_metadata": spend, "user_api_key_team_id": "team"}),
        payload(metadata={"user_api_key_team_id": "team"}, end_user="run-9/2"),
        payload(metadata={"user_api_key_user_id": "user"}, end_user=None),
        payload(metadata={"user_api_key_user_id": "default_user_id"}, end_user=None),
        payload(metadata={"spend_logs_metadata": "no object"}),
        payload(metadata={"usage_object": {"prompt_tokens_details": {"cached_tokens": 7}}}),
        payload(request_tags=["a", "User-Agent: b"]),
    ):
        whole = {**callback, "total_tokens": 150}
        found = read_row(json.dumps(paged(row_of(whole, "1.110.2"))).encode())
        assert isinstance(found, SpendLog)
        of_row, of_callback = charged(callback_of(found)), charged(json.dumps(whole).encode())
        assert unlike(of_row.receipt, of_callback.receipt).keys() <= UNKNOWN_TO_A_ROW
        assert content_hash(of_row.receipt) == of_callback.content_hash


def test_a_client_that_left_its_stream_is_told_where_the_row_tells_it() -> None:
    left = {"error_information": {"error_message": "Client disconnected the request"}}
    assert "client_disconnected" in charged(callback_of(row(metadata=left))).receipt.marks
    assert charged(costing("0.5")).receipt.marks == []
