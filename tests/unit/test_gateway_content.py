"""What is cut out of an element, and that nothing else changes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer_gateway.content import (
    CONTENT,
    KEPT,
    Cut,
    Keep,
    Rule,
    cut_content,
    keep_billing_fields,
)
from schemas.reader import BILLING_FIELDS, Fields
from tests.inputs import captures
from tests.inputs.callbacks import element, read_callback

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
SPACES = st.sampled_from(["", " ", "\n  ", "\t"])


def names(rule: Rule) -> list[str]:
    """The names that a rule speaks of, at its level."""
    return list(rule.fields)


def pruned(value: object, rule: Rule) -> object:
    """What must remain of `value`, worked out on the parsed object instead of on the bytes."""
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, inner in value.items():
        inside: Any = rule.fields.get(name)
        if isinstance(inside, dict):
            inside = Keep(inside)
        if name not in rule.fields:
            if isinstance(rule, Cut):
                kept[name] = inner
        elif inside is None:
            if isinstance(rule, Keep):
                kept[name] = inner
        elif isinstance(inner, dict):
            kept[name] = pruned(inner, inside)
        elif isinstance(inside, Cut):
            kept[name] = inner
    return kept


@pytest.mark.parametrize("raw", captures.all_elements(), ids=lambda raw: str(len(raw)))
def test_billing_reads_the_same_from_what_is_left(raw: bytes) -> None:
    whole = read_callback(raw)
    assert read_callback(cut_content(raw)) == whole
    assert read_callback(keep_billing_fields(raw)) == whole
    assert json.loads(cut_content(raw)) == pruned(json.loads(raw), CONTENT)
    assert json.loads(keep_billing_fields(raw)) == pruned(json.loads(raw), KEPT)


def test_prompts_answers_headers_addresses_and_tracebacks_are_gone() -> None:
    raw = element(
        messages=[{"content": "SECRET"}],
        response={"choices": ["SECRET"]},
        model_parameters={"tools": "SECRET"},
        requester_ip_address="SECRET",
        api_base="https://SECRET",
        error_information={"error_code": "500", "traceback": "SECRET", "error_message": "SECRET"},
        metadata={
            "spend_logs_metadata": {"run_id": "run-1"},
            "requester_metadata": {"headers": "SECRET"},
            "requester_custom_headers": {"x-secret": "SECRET", "x-litellm-end-user-id": "acct"},
            "requester_ip_address": "SECRET",
            "mcp_tool_call_metadata": {"arguments": "SECRET"},
        },
        hidden_params={"api_base": "SECRET", "additional_headers": {}},
    )
    left = cut_content(raw)
    assert b"SECRET" not in left
    assert b'"requester_custom_headers": {"x-litellm-end-user-id": "acct"}' in left
    assert b'"error_information": {"error_code": "500"}' in left
    assert b'"hidden_params": {"additional_headers": {}}' in left


def test_no_rule_takes_what_billing_reads() -> None:
    def collide(cut: Rule, fields: Fields) -> list[str]:
        found = []
        for name, inside in cut.fields.items():
            if name in fields and inside is None:
                found.append(name)
            elif isinstance(inside, Cut) and isinstance(fields.get(name), dict):
                found += collide(inside, fields[name] or {})
        return found

    assert collide(CONTENT, BILLING_FIELDS) == []


@pytest.mark.parametrize(
    ("raw", "left"),
    [
        (b'{"messages":1}', b"{}"),
        (b'{ "messages" : 1 }', b"{ }"),
        (b'{"messages":1,"id":2}', b'{"id":2}'),
        (b'{"id":2, "messages":1 }', b'{"id":2 }'),
        (b'{"a":1,"messages":1,"response":[{}], "b":NaN,"user_agent":"x"}', b'{"a":1,"b":NaN}'),
        (b'{"messages":1,"messages":2,"id":"\xff\\ud800\n"}', b'{"id":"\xff\\ud800\n"}'),
        (b'{"mess\\u0061ges":"secret","id":1}', b'{"id":1}'),
        (b'{"id":"messages\\",\\"","messages":"}"}', b'{"id":"messages\\",\\""}'),
        (b'{"metadata":{"user_agent":1},"id":1}', b'{"metadata":{},"id":1}'),
        (b'{"metadata":null,"id":1}', b'{"metadata":null,"id":1}'),
        (b'{"metadata":{"requester_custom_headers":["x"]}}', b'{"metadata":{}}'),
    ],
)
def test_cutting_takes_the_member_and_its_comma(raw: bytes, left: bytes) -> None:
    assert cut_content(raw) == left


@pytest.mark.parametrize(
    "raw", [b"", b"1", b'"messages"', b'[{"messages":1}]', b'{"messages":1', b'{"messages" 1}']
)
def test_what_is_no_object_stays_as_it_is(raw: bytes) -> None:
    assert cut_content(raw) == raw
    assert keep_billing_fields(raw) == raw


@given(
    st.dictionaries(
        st.sampled_from([*names(CONTENT), "id", "response_cost"]) | st.text(), VALUES, max_size=8
    ),
    st.dictionaries(st.sampled_from(["requester_metadata", "user_agent", "x"]), VALUES),
    SPACES,
    SPACES,
)
def test_RAW_BYTES_SURVIVE_around_what_is_cut(
    fields: dict[str, object], metadata: dict[str, object], before: str, after: str
) -> None:
    whole = {**fields, "metadata": metadata}
    raw = json.dumps(whole, separators=(f"{after},{before}", f"{before}:{after}")).encode()
    for cut, rule in ((cut_content, CONTENT), (keep_billing_fields, KEPT)):
        left = cut(raw)
        assert json.loads(left) == pruned(whole, rule)
        position = -1
        for byte in left:
            position = raw.index(byte, position + 1)
        if json.loads(left) == whole:
            assert left == raw
