"""Reading a callback: whatever a proxy can send, exactly, without falling over."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import reader
from schemas.callback import ContractError, Identity
from schemas.reader import (
    Reading,
    identify,
    identify_fast,
    is_strict_json,
    read_fast,
    read_thoroughly,
    read_values,
)
from tests.inputs import captures
from tests.inputs.callbacks import (
    NUMBER,
    contents,
    element,
    leniently,
    payload,
    read_callback,
)

QUICK_SECONDS = 3.0


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"   ",
        b"{",
        b'{"id": "x"',
        b'{"id": "x",}',
        b'{"id": "x"} trailing',
        b'{"id": 01}',
        b'{"response_cost": 1.}',
        b'{"response_cost": .5}',
        b'{"response_cost": +1}',
        b'{"response_cost": 1_000}',
        b"{'id': 'x'}",
        b'{"id": "\\x41"}',
        b"\xff\xfe\x00",
        b'{"id": "x" "status": "success"}',
        b"\x1f\x8b\x08\x00",
    ],
)
def test_what_is_no_json_in_any_reading_is_unreadable(broken: bytes) -> None:
    with pytest.raises(ContractError) as refused:
        read_values(broken)
    assert refused.value.reason == "unreadable"


@pytest.mark.parametrize("other", [b"null", b"[]", b'[{"id": "x"}]', b'"x"', b"1", b"NaN", b"true"])
def test_an_element_is_an_object(other: bytes) -> None:
    with pytest.raises(ContractError) as refused:
        read_values(other)
    assert refused.value.reason == "not_an_object"


HOSTILE = [
    b'"x": Infinity',
    b'"x": [NaN, -Infinity]',
    b'"x": 1e400',
    b'"x": "\xff\xfe"',
    b'"x": "\\ud800"',
    b'"x": "\xed\xa0\x80"',
    b'"x": "\x00\x01\x1f\n"',
    b'"x": ' + b"9" * 100_000,
    b'"x": 1e999999999',
    b'"x": 1e-999999999',
    b'"\\ud800": 1',
    b'"x": "' + b"\\\\" * 1_000 + b'\\ud800"',
    b'"messages": ' + b"[" * 90 + b"NaN" + b"]" * 90,
]


@pytest.mark.parametrize("inside", HOSTILE, ids=lambda value: repr(value[:30]))
@pytest.mark.parametrize("place", ["top", "spend"])
def test_nobody_escapes_a_bill_by_what_strict_json_refuses(inside: bytes, place: str) -> None:
    mark = b'"@": 0'
    fields: dict[str, Any] = (
        {"@": 0}
        if place == "top"
        else {"metadata": {"spend_logs_metadata": {"run_id": "run-1", "attempt": 2, "@": 0}}}
    )
    value = element(**fields).replace(mark, inside)
    assert inside in value
    began = time.thread_time()
    callback, _ = read_callback(value)
    assert time.thread_time() - began < QUICK_SECONDS
    expected, _ = read_callback(element())
    assert callback.response_cost == expected.response_cost
    assert callback.id == expected.id
    assert callback.metadata is not None
    assert callback.metadata.spend_logs_metadata["run_id"] == "run-1"
    assert callback.metadata.spend_logs_metadata["attempt"] == 2


BILLED = (
    "prompt_tokens", "completion_tokens", "startTime", "endTime", "completionStartTime", "stream",
    "cache_hit", "saved_cache_cost", "cost_breakdown", "metadata", "hidden_params", "model",
    "model_group", "call_type", "end_user", "request_tags", "error_str", "custom_llm_provider",
    "litellm_call_id",
)  # fmt: skip


@pytest.mark.parametrize("field", BILLED)
@pytest.mark.parametrize(
    "number", ["1e9999999", "-1e9999999", "1e-9999999", "9" * 100_000, "NaN", "-Infinity", "1e400"]
)
def test_a_monstrous_number_in_any_field_costs_no_time(field: str, number: str) -> None:
    value = element(number, **{field: NUMBER})
    began = time.thread_time()
    callback, _ = read_callback(value)
    assert time.thread_time() - began < QUICK_SECONDS
    assert callback.response_cost == Decimal("0.000036")


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("place", [b'"messages": @', b'"metadata": {"spend_logs_metadata": @}'])
def test_nesting_of_any_depth_is_answered(opening: bytes, place: bytes) -> None:
    deep = opening * 1_000_000
    value = b'{"id": "x", "status": "success", "response_cost": 1, ' + place.replace(b"@", deep)
    began = time.thread_time()
    with pytest.raises(ContractError):
        read_values(value)
    assert time.thread_time() - began < QUICK_SECONDS


@pytest.mark.parametrize("lenient", [False, True])
def test_of_a_key_that_occurs_twice_the_last_counts(*, lenient: bool) -> None:
    value = (
        b'{"id": "first", "status": "failure", "response_cost": 1, "response_cost": "x",'
        b' "metadata": {"user_api_key_team_id": "first", "user_api_key_user_id": "first"},'
        b' "cost_breakdown": {"total_cost": 1}, "id": "last", "status": "success",'
        b' "response_cost": 2, "metadata": {"user_api_key_team_id": "last"},'
        b' "cost_breakdown": {"total_cost": 3, "total_cost": 4}, "i\\u0064": "the very last"}'
    )
    callback, _ = read_callback(leniently(value) if lenient else value)
    assert (callback.id, callback.status) == ("the very last", "success")
    assert callback.response_cost == 2
    assert callback.metadata is not None
    assert callback.metadata.user_api_key_team_id == "last"
    assert callback.metadata.user_api_key_user_id is None
    assert callback.cost_breakdown is not None
    assert callback.cost_breakdown.total_cost == 4


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (rb"\ud800", "\ufffd"),
        (rb"\udc00\ud800", "\ufffd\ufffd"),
        (rb"\ud83d\ude00", "\N{GRINNING FACE}"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\N{GRINNING FACE}"),
        (rb"\\ud800", "\\ud800"),
        (rb"\\\ud800", "\\\ufffd"),
        (b"\xff", "\ufffd"),
        (b"a\x00b", "a\x00b"),
        ("\N{BYTE ORDER MARK}".encode(), "\N{BYTE ORDER MARK}"),
    ],
)
def test_broken_text_is_mended_and_whole_text_is_kept(sent: bytes, read: str) -> None:
    value = element(end_user="@").replace(b'"@"', b'"' + sent + b'"')
    assert read_callback(leniently(value))[0].end_user == read


def test_a_byte_order_mark_in_front_is_tolerated() -> None:
    callback, lenient = read_callback(b"\xef\xbb\xbf" + element())
    assert callback.id == "chatcmpl-1"
    assert lenient


@pytest.mark.parametrize("yes", ["true", "True", "yes", "on", 1, 1.0, "1"])
def test_only_true_is_true(yes: object) -> None:
    """A text that reads like yes must not turn a zero into a free call."""
    callback, _ = read_callback(
        element(cache_hit=yes, stream=yes, metadata={"is_silent_experiment": yes})
    )
    assert callback.cache_hit is None
    assert callback.stream is None
    assert callback.metadata is not None
    assert callback.metadata.is_silent_experiment is None


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
    | st.sampled_from(["success", "run/3", "true", "", " ", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)
METADATA_FIELDS = (
    "spend_logs_metadata", "user_api_key_team_id", "user_api_key_user_id",
    "requester_custom_headers", "usage_object", "is_silent_experiment",
)  # fmt: skip
HEADERS = ODD | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("x-litellm-end-user-id", "x-litellm-spend-logs-metadata"), ODD)
)
METADATA = ODD | st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(METADATA_FIELDS, ODD) | {"requester_custom_headers": HEADERS},
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys((*BILLED, "id", "status", "response_cost"), ODD),
            "metadata": METADATA,
            "hidden_params": ODD | st.fixed_dictionaries({"additional_headers": ODD}),
            "cost_breakdown": ODD | st.fixed_dictionaries({"total_cost": ODD}),
        },
    )
)
@example({"metadata": {"spend_logs_metadata": {"run_id": "r", "attempt": 2}}})
@example({"call_type": "aretrieve_batch", "end_user": "run/3", "metadata": None})
@example({"prompt_tokens": 10**20, "completion_tokens": 1.0, "startTime": 10**20})
@example({"prompt_tokens": True, "request_tags": ["a", 5], "cost_breakdown": {"total_cost": -1}})
def test_both_readings_agree_on_all_that_strict_json_can_read(changes: dict[str, object]) -> None:
    value = json.dumps(payload(**changes)).encode()
    assert is_strict_json(value)

    def read(sent: bytes) -> tuple[Identity, object, str | None] | str:
        try:
            return whole(sent)
        except ContractError as error:
            return error.reason

    assert read(leniently(value)) == read(value)
    assert in_one_pass(value) in {None, repr(read(value))}


def said(reading: Reading) -> tuple[Identity, object, str | None]:
    """All that a reading says of a callback, but for how it was read."""
    return reading.identity, contents(reading.callback), reading.sent_cost


def whole(value: bytes) -> tuple[Identity, object, str | None]:
    """What the thorough path says; the gateway's part of it says the same."""
    reading = read_thoroughly(value)
    assert reading.identity == identify(value)
    return said(reading)


def in_one_pass(value: bytes) -> str | None:
    """What the fast path says, None where it leaves a callback to the thorough one."""
    if read_fast(value) is None:
        return None
    try:
        reading = reader.read_callback(value)
    except ContractError as error:
        assert identify_fast([value]) is None
        return repr(error.reason)
    assert identify_fast([value]) == [reading.identity]
    assert not reading.lenient
    assert not reading.dropped
    return repr(said(reading))


@pytest.mark.parametrize("file", captures.files())
def test_what_a_proxy_sends_is_read_in_one_pass_and_reads_the_same(file: str) -> None:
    for value in captures.elements(file):
        assert not read_values(value)[1]
        assert in_one_pass(value) == repr(whole(value))


def priced(field: str, price: str) -> bytes:
    """A callback with this JSON text as one of its amounts."""
    fields: dict[str, Any] = (
        {"cost_breakdown": {field: NUMBER}} if field == "total_cost" else {field: NUMBER}
    )
    return element(price, **fields)


AMOUNTS = ["response_cost", "saved_cache_cost", "total_cost"]


@pytest.mark.parametrize(
    "price",
    ["-1", "-1e-30", "1e400", "1e-61", f"1.{'1' * 25}e-39", "1000000000.01", '"0.5"', "true", "[]",
     "0." + "0" * 400, "1e999999999999999999999", "9" * 5_000],
)  # fmt: skip
@pytest.mark.parametrize("field", AMOUNTS)
def test_what_is_no_money_never_takes_the_fast_path(field: str, price: str) -> None:
    assert read_fast(priced(field, price)) is None


@pytest.mark.parametrize(
    "price",
    ["-0.0", "-0", "0e-500", "1E+2", "1000000000", "1e-40", "1e-60", "0." + "1" * 26,
     "123456789." + "1" * 60],
)  # fmt: skip
@pytest.mark.parametrize("field", AMOUNTS)
def test_MONEY_IS_EXACT_both_paths_read_an_amount_of_an_odd_form_alike(
    field: str, price: str
) -> None:
    value = priced(field, price)
    assert in_one_pass(value) == repr(whole(value))


@given(st.dictionaries(st.sampled_from(["messages", "response", "model_parameters", "x"]), ODD))
def test_what_billing_does_not_need_does_not_matter(content: dict[str, object]) -> None:
    assert contents(read_callback(element(**content))[0]) == contents(read_callback(element())[0])


@pytest.mark.parametrize("wrong", [..., None, 5, [], {}, True])
def test_the_field_that_billing_cannot_do_without(wrong: object) -> None:
    with pytest.raises(ContractError) as refused:
        read_callback(element(status=wrong))
    assert refused.value.reason == "contract_broken"


@pytest.mark.parametrize("wrong", [..., None, [], {}, True])
def test_of_the_two_ids_billing_needs_one(wrong: object) -> None:
    with pytest.raises(ContractError) as refused:
        read_callback(element(id=wrong, litellm_call_id=wrong))
    assert refused.value.reason == "no_usable_id"


def test_a_field_of_the_wrong_type_is_left_out_and_its_neighbours_stay() -> None:
    callback, _ = read_callback(
        element(
            model={"name": "x"},
            prompt_tokens="many",
            request_tags=["fine", ["odd"], 5],
            metadata={
                "user_api_key_team_id": {"id": 5},
                "user_api_key_user_id": "user-1",
                "requester_custom_headers": {"x-litellm-end-user-id": ["a"]},
                "usage_object": {"prompt_tokens_details": {"cached_tokens": "x"}},
            },
        )
    )
    assert callback.model is None
    assert callback.prompt_tokens is None
    assert callback.request_tags == ["fine", "5"]
    assert callback.completion_tokens == 30
    assert callback.metadata is not None
    assert callback.metadata.user_api_key_team_id is None
    assert callback.metadata.user_api_key_user_id == "user-1"
