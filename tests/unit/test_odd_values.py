"""An odd type is a value: read where its meaning is plain, and marked where it was dropped."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.attribution import object_of, text_of
from tests.inputs.callbacks import NUMBER, charged, element, receipt

NAMES = ("run_id", "graph_id", "sub_agent_id", "parent_sub_agent_id", "tool_call_id")
PLAIN = [
    *(("text", "text"), (7, "7"), (0, "0"), (-1, "-1"), (7.0, "7"), (-0.0, "0"), (1.5, "1.5")),
    *(
        (10**20, "1" + "0" * 20),
        (2**53, str(2**53)),
        (2.0**53 - 1, str(2**53 - 1)),
        (" a ", " a "),
        ("\N{ROCKET}", "\N{ROCKET}"),
    ),
]
ABSENT = [None, "", " ", "\t\n"]
UNREADABLE = [True, False, [], {}, ["a"], {"a": 1}, 2.0**53, -1e300, 10**70, [[]]]


def spending(**spend: object) -> dict[str, Any]:
    """The receipt of a call whose client says this."""
    return receipt(metadata={"spend_logs_metadata": {"run_id": "run-1", **spend}})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("value", "text"), PLAIN)
def test_11_a_name_is_read_whatever_its_type(name: str, value: object, text: str) -> None:
    found = spending(**{name: value})
    assert found[name] == text
    assert found["marks"] == []


@pytest.mark.parametrize("name", [*NAMES[1:], "attempt"])
@pytest.mark.parametrize("value", ABSENT)
def test_what_says_nothing_is_not_missed(name: str, value: object) -> None:
    found = spending(**{name: value})
    assert found[name] == (0 if name == "attempt" else None)
    assert found["marks"] == []


@pytest.mark.parametrize("name", [*NAMES, "attempt"])
@pytest.mark.parametrize("value", UNREADABLE, ids=repr)
def test_11_what_cannot_be_read_is_marked_and_the_neighbours_stay(name: str, value: object) -> None:
    neighbours = {other: f"the {other}" for other in NAMES if other != name}
    found = spending(**{**neighbours, name: value})
    assert "attribution_unreadable" in found["marks"]
    assert {other: found[other] for other in neighbours} == neighbours
    assert ("unattributed_run" in found["marks"]) == (name == "run_id")
    assert found["charged_credits"] == 360


@pytest.mark.parametrize("attempt", [-1, 1.5, "x", "1.0", 2**31, "9" * 5_000, "\u0663"])
def test_an_attempt_that_is_no_count_is_marked(attempt: object) -> None:
    found = spending(attempt=attempt)
    assert (found["attempt"], found["marks"]) == (0, ["attribution_unreadable"])


@pytest.mark.parametrize(
    ("spend", "marks"),
    [
        (None, ["unattributed_run"]),
        ("", ["unattributed_run"]),
        ({}, ["unattributed_run"]),
        ("{}", ["unattributed_run"]),
        ("run-1", ["attribution_unreadable", "unattributed_run"]),
        (["run-1"], ["attribution_unreadable", "unattributed_run"]),
        (7, ["attribution_unreadable", "unattributed_run"]),
        ("[]", ["attribution_unreadable", "unattributed_run"]),
        ('{"run_id": "x"', ["attribution_unreadable", "unattributed_run"]),
        ('{"run_id": "x"}', []),
        ('\n {"run_id": 7, "attempt": 1}', []),
    ],
)
def test_11_metadata_of_the_client_is_an_object_or_the_text_of_one(
    spend: object, marks: list[str]
) -> None:
    assert receipt(metadata={"spend_logs_metadata": spend})["marks"] == marks


MISSPELT = ["attribution_misspelt"]
HOLD = "7f3f2b64-39f6-4dd5-9d8e-1d20a8d9f0b1"


@pytest.mark.parametrize(
    ("spend", "marks"),
    [
        ({"runId": "run-1"}, [*MISSPELT, "unattributed_run"]),
        ({"runid": 7}, [*MISSPELT, "unattributed_run"]),
        ('{"Run-ID": "run-1"}', [*MISSPELT, "unattributed_run"]),
        ({"runId": ["run-1"]}, [*MISSPELT, "unattributed_run"]),
        ({"run_id": "run-1", "runId": "run-2"}, []),
        ({"run_id": None, "runId": "run-2"}, [*MISSPELT, "unattributed_run"]),
        ({"run_id": "run-1", "graphId": "g"}, MISSPELT),
        ({"run_id": "run-1", "parentSubAgentId": "g", "attempts": 2, "run": 1, "": 1}, MISSPELT),
        ({"run_id": "run-1", "attempts": 2, "run": 1, "": 1, "_": 1, "ticket_id": 4}, []),
        ({"run_id": "run-1", "runId": None}, []),
        ({"r" + "_" * 40 + "unid": "run-1"}, ["unattributed_run"]),
    ],
)
def test_a_misspelt_name_that_is_missing_leaves_a_mark_and_is_not_read(
    spend: object, marks: list[str]
) -> None:
    found = receipt(metadata={"spend_logs_metadata": spend})
    assert found["marks"] == marks
    assert (found["graph_id"], found["parent_sub_agent_id"], found["attempt"]) == (None, None, 0)


@pytest.mark.parametrize(
    ("said", "header", "marks"),
    [
        (None, "{'run_id': 'run-1'}", ["attribution_unreadable"]),
        (None, "run-1", ["attribution_unreadable"]),
        (None, '["run-1"]', ["attribution_unreadable"]),
        (None, 7, ["attribution_unreadable"]),
        (None, "", []),
        (None, None, []),
        # LiteLLM has read it and put something else in its place, such as a tool's own.
        (None, '{"run_id": "run-1"}', []),
        ({}, "{'run_id': 'run-1'}", []),
        # The spend guard's plugin has written where nothing was.
        ({"billing_hold": HOLD}, "{'run_id': 'run-1'}", ["attribution_unreadable"]),
        (json.dumps({"billing_hold": HOLD}), "run-1", ["attribution_unreadable"]),
        ({"billing_hold": HOLD}, '{"run_id": "run-1"}', []),
        ({"billing_hold": HOLD}, None, []),
        ({"billing_hold": HOLD, "team": "red"}, "{'run_id': 'run-1'}", []),
    ],
)
def test_a_header_that_litellm_drops_without_a_word_leaves_a_mark(
    said: object, header: object, marks: list[str]
) -> None:
    headers = {"x-litellm-spend-logs-metadata": header}
    found = receipt(metadata={"spend_logs_metadata": said, "requester_custom_headers": headers})
    assert found["marks"] == [*marks, "unattributed_run"]


def test_11_all_of_the_metadata_may_be_json_text() -> None:
    """Also one object in it, and the headers; nothing that it says is lost."""
    metadata = {
        "spend_logs_metadata": json.dumps({"run_id": 990017, "attempt": "1", "sub_agent_id": 7}),
        "requester_custom_headers": json.dumps({"x-litellm-end-user-id": 4711}),
        "user_api_key_team_id": "team",
        "usage_object": json.dumps({"prompt_tokens_details": {"cached_tokens": 64}}),
    }
    found = receipt(metadata=json.dumps(metadata), end_user=None)
    assert (found["run_id"], found["attempt"], found["sub_agent_id"]) == ("990017", 1, "7")
    assert (found["billing_account_id"], found["tokens_cached_in"]) == ("4711", 64)
    assert found["marks"] == []


@pytest.mark.parametrize(
    ("fields", "mark"),
    [
        ({"end_user": {"id": 5}}, "attribution_unreadable"),
        ({"end_user": True}, "attribution_unreadable"),
        ({"metadata": [1]}, "attribution_unreadable"),
        ({"metadata": "no JSON"}, "attribution_unreadable"),
        ({"metadata": {"user_api_key_team_id": ["t"]}}, "attribution_unreadable"),
        ({"metadata": {"requester_custom_headers": [1]}}, "attribution_unreadable"),
        ({"request_tags": {"a": 1}}, "attribution_unreadable"),
        ({"prompt_tokens": "many"}, "field_unreadable"),
        ({"model": {"name": "x"}}, "field_unreadable"),
        ({"stream": "true"}, "field_unreadable"),
        ({"metadata": {"usage_object": [1]}}, "field_unreadable"),
        ({"metadata": {"is_silent_experiment": "true"}}, "field_unreadable"),
        ({"hidden_params": 5}, "field_unreadable"),
        ({"id": [1]}, "half_key"),
        ({"litellm_call_id": ""}, "half_key"),
        ({"litellm_call_id": ...}, "half_key"),
    ],
)
def test_what_was_dropped_leaves_a_mark(fields: dict[str, Any], mark: str) -> None:
    found = receipt(**fields)
    assert set(found["marks"]) - {"unattributed_run", "unattributed_account"} == {mark}
    assert found["charged_credits"] == 360


@pytest.mark.parametrize(
    ("tags", "kept", "marks"),
    [
        (["a", 5, "b", 7.0], ["a", "5", "b", "7"], []),
        (["a", {"x": 1}, "b", None, True], ["a", "b"], ["attribution_unreadable"]),
        ([["a"], "b"], ["b"], ["attribution_unreadable"]),
        ("blue", ["blue"], []),
        ("", [], []),
        ([], [], []),
        (None, [], []),
    ],
)
def test_one_odd_tag_loses_no_other_tag(tags: object, kept: list[str], marks: list[str]) -> None:
    found = receipt(request_tags=tags)
    assert (found["tags"], found["marks"]) == (kept, marks)


def test_10_the_receipt_says_by_which_id_it_is_known() -> None:
    by_call, by_id = receipt(id=None), receipt(litellm_call_id=[])
    assert (by_call["call_key"], by_call["response_id"]) == ("call-1", "call-1")
    assert (by_call["litellm_call_id"], by_call["marks"]) == ("call-1", ["half_key"])
    assert (by_id["call_key"], by_id["litellm_call_id"]) == ("chatcmpl-1", None)
    number = receipt(id=12345)
    assert (number["response_id"], number["marks"]) == ("12345", [])


def test_10_a_repeat_of_half_a_key_is_a_duplicate_and_nothing_else_is() -> None:
    first, again = charged(element(id="")), charged(element(id=""))
    other = charged(element(id="", litellm_call_id="call-2"))
    assert first.receipt.id == again.receipt.id != other.receipt.id


@pytest.mark.parametrize("number", ["12", "12.0", "1.2e1", "120e-1"])
def test_a_number_names_the_same_however_it_is_written(number: str) -> None:
    value = element(number, metadata={"spend_logs_metadata": {"run_id": NUMBER}})
    assert charged(value).receipt.run_id == "12"


@given(st.integers() | st.floats() | st.text(max_size=5) | st.booleans() | st.none())
def test_two_values_are_one_text_only_where_they_are_one_value(value: object) -> None:
    text = text_of(value)
    if text is None or isinstance(value, str):
        return
    assert isinstance(value, int | float)
    # A large integer is not the float that its text makes.
    assert (int(text) if isinstance(value, int) else float(text)) == value


@given(st.text(max_size=30) | st.sampled_from(["{" * 10_000, '{"a":' * 10_000, "{}", '{"a": NaN}']))
def test_any_text_is_read_as_an_object_or_is_none(text: str) -> None:
    found = object_of(text)
    assert found is None or isinstance(found, dict)
