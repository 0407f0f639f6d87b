"""Text of any kind in a payload: the call is billed, the row and the event take it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.outcomes import Charge
from schemas.receipt import to_kafka
from schemas.text import MAX_TEXT_BYTES
from schemas.topics import load_topics
from tests.inputs.callbacks import (
    charged,
    element,
    receipt,
    verdict,
)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("end_user", "billing_account_id"),
        ("model_group", "model"),
        ("model", "provider_model"),
        ("custom_llm_provider", "provider"),
        ("call_type", "call_type"),
        ("id", "response_id"),
        ("litellm_call_id", "litellm_call_id"),
    ],
)
@pytest.mark.parametrize(
    ("sent", "stored"),
    [("a\x00b", "a\ufffdb"), ("\x00", "\ufffd"), ("\ud800x", "\ufffdx")],
)
def test_text_that_postgresql_refuses_is_replaced_and_marked_and_billed(
    name: str, field: str, sent: str, stored: str
) -> None:
    found = receipt(**{name: sent})
    assert found[field] == stored
    assert found["charged_credits"] == 360
    if "\ud800" not in sent:  # mended in reading, and marked so
        assert "text_replaced" in found["marks"]
    assert {"text_replaced", "lenient_json"} & set(found["marks"])


def test_a_nul_in_a_run_id_is_replaced_and_marked() -> None:
    found = receipt(metadata={"spend_logs_metadata": {"run_id": "run\x001"}})
    assert found["run_id"] == "run\ufffd1"
    assert "text_replaced" in found["marks"]


HOSTILE_TEXT = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["\x00", "\ud800", " ", "\x7f", "\r\n", "\u2028", "=?utf-8?", "%00", '"', "\\"]
    ),
    st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=3), st.just(800)),
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(
                ("id", "litellm_call_id", "end_user", "model", "model_group",
                 "custom_llm_provider", "call_type"),
                HOSTILE_TEXT,
            ),
            "request_tags": st.lists(HOSTILE_TEXT, max_size=3),
            "metadata": st.fixed_dictionaries(
                {
                    "spend_logs_metadata": st.fixed_dictionaries(
                        {},
                        optional=dict.fromkeys(
                            ("run_id", "graph_id", "sub_agent_id", "tool_call_id"), HOSTILE_TEXT
                        ),
                    ),
                    "user_api_key_team_id": HOSTILE_TEXT,
                }
            ),
        },
    )
)  # fmt: skip
def test_whatever_the_text_the_row_and_the_event_take_it(fields: dict[str, Any]) -> None:
    decision = verdict(element(**fields))
    if not isinstance(decision, Charge):
        return
    for value in msgspec.to_builtins(decision.receipt).values():
        for text in value if isinstance(value, list) else [value]:
            assert "\x00" not in str(text)
            assert len(str(text).encode()) <= 2 * MAX_TEXT_BYTES + 20
    message = to_kafka(decision.receipt)
    assert json.loads(message.value)["call_key"] == decision.receipt.call_key


def test_an_event_fits_its_topic_whatever_the_client_tags() -> None:
    """A client sends the tags. An event that the broker refuses would stop its partition."""
    charge = charged(
        element(
            request_tags=["\x01" * 1_000 + str(n) for n in range(10_000)],
            end_user="\x01" * 5_000,
            model="\x01" * 5_000,
            metadata={"spend_logs_metadata": {"run_id": "\x01" * 5_000, "graph_id": "é" * 5_000}},
        )
    )
    message = to_kafka(charge.receipt)
    headers = sum(len(name) + len(value) for name, value in message.headers.items())
    assert len(message.value) + headers < load_topics().receipts.max_message_bytes - 10_000
    assert len(charge.receipt.tags) >= 50
    assert "tags_cut" in charge.receipt.marks
