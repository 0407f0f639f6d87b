"""What executors may call runs, agents and tags: what the billing reads as they mean it."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import schemas.identity
from billing_stream_client import Run, WrongInputError, check_headers, end_user_of, run_attempt
from charging.charge import _MAX_TAGS as KEPT_TAGS
from charging.decision import decide
from charging.outcomes import Charge
from schemas.reader import identify
from schemas.receipt import Receipt
from tests.inputs.callbacks import policy, record

METADATA, END_USER, TAGS = (
    "x-litellm-spend-logs-metadata",
    "x-litellm-end-user-id",
    "x-litellm-tags",
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["run-7", "run/7", "a/b/c", "run//", "/", "7", "é" * 512, "a" * 513, " run",
                     "\ud800", "None", "null", '{"run_id": 7}', "[1]",
                     "x" * 200 + "~sha256-" + "0" * 64]),
    st.text("/0123456789a", max_size=12),
    st.text("x", min_size=500, max_size=520),
)  # fmt: skip
NAMES = ("graph", "agent", "parent_agent", "tool_call")
ATTEMPTS = st.integers(0, 999_999_999)


def callback(headers: dict[str, str]) -> bytes:
    """What LiteLLM says of a call that was made with these headers."""
    sent = {
        "id": "r-1",
        "litellm_call_id": "c-1",
        "call_type": "acompletion",
        "status": "success",
        "response_cost": 0.000036,
        "model": "paid",
        "end_user": headers.get(END_USER),
        "request_tags": headers[TAGS].split(",") if TAGS in headers else [],
        "metadata": {"spend_logs_metadata": json.loads(headers[METADATA])},
    }
    return json.dumps(sent).encode()


def charged(headers: dict[str, str]) -> Receipt:
    """The receipt of a call that was made with these headers."""
    decision = decide(record(callback(headers)), policy())
    assert isinstance(decision, Charge)
    return decision.receipt


@given(TEXTS | st.none() | st.integers() | st.builds("{}/{}".format, TEXTS, st.integers() | TEXTS))
@example("run/0007")
@example("run/1234567890")
@example("run/\u0661")
@example(" /3")
def test_the_helper_and_the_billing_read_an_end_user_alike(end_user: object) -> None:
    assert run_attempt(end_user) == schemas.identity.run_attempt(end_user)


@given(run=TEXTS, attempt=ATTEMPTS)
def test_a_run_is_refused_or_read_as_it_was_meant_from_either_header(
    run: str, attempt: int
) -> None:
    try:
        made = Run(run, attempt=attempt)
    except WrongInputError:
        return
    identity = identify(callback(made.call().headers))
    assert (identity.run_id, identity.attempt, identity.attributed) == (run, attempt, True)
    assert made.end_user == end_user_of(run, attempt)
    assert run_attempt(made.end_user) == (run, attempt)
    named = identify(callback({METADATA: "null", END_USER: made.end_user}))
    assert (named.run_id, named.attempt) == (run, attempt)


@given(
    names=st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, TEXTS)),
    tags=st.lists(TEXTS, max_size=3),
)
def test_names_and_tags_are_refused_or_stand_on_the_receipt_as_they_were_given(
    names: dict[str, Any], tags: list[str]
) -> None:
    try:
        headers = Run("run-7", attempt=2, account="acme").call(**names, tags=tags).headers
    except WrongInputError:
        return
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    check_headers(headers)
    receipt = charged(headers)
    assert (receipt.run_id, receipt.attempt, receipt.billing_account_id) == ("run-7", 2, "acme")
    assert receipt.marks == []
    assert receipt.tags == tags
    on_it = (receipt.graph_id, receipt.sub_agent_id, receipt.parent_sub_agent_id,
             receipt.tool_call_id)  # fmt: skip
    assert on_it == tuple(names.get(name) for name in NAMES)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("", "is empty"),
        ("\t", "is empty"),
        (" run-7", "white space"),
        ("run\n7", "control character"),
        ("run\ud800", "half a character"),
        ("r" * 513, "longer than 512 characters"),
        ("é" * 513, "longer than"),
        ("\U0001f600" * 300, "1,024 bytes"),
        ("None", "where a name is missing"),
        ("default_user_id", "where a name is missing"),
        ("<object object at 0x7f0000000000>", "where a name is missing"),
        ('{"run_id": "run-7"}', "JSON"),
        ("['run-7']", "a list"),
        ("run-7/2", "attempt=2"),
        (7, "must be text, and is of the type int"),
        (None, "must be text, and is missing"),
    ],
)
def test_a_run_that_is_no_name_is_refused_with_what_is_wrong(run: object, words: str) -> None:
    with pytest.raises(WrongInputError, match=words):
        Run(run)  # type: ignore[arg-type]


@pytest.mark.parametrize("attempt", [-1, 1_000_000_000, True, "2", 2.0, None])
def test_an_attempt_is_a_whole_number(attempt: object) -> None:
    with pytest.raises(WrongInputError, match="attempt must be a whole number"):
        Run("run-7", attempt=attempt)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tags": "team-a"}, "must be a list"),
        ({"tags": [7]}, "must be text"),
        ({"tags": ["a,b"]}, "comma"),
        ({"tags": ["ü"]}, "ASCII"),
        ({"tags": ["a" * 201]}, "at most 200"),
        ({"tags": [f"t{n}" for n in range(91)]}, "91 tags"),
        ({"tags": ["a" * 190] * 30}, "would have 5,729 bytes"),
        ({"graph": "x" * 500, "agent": "ü" * 500, "tool_call": "ü" * 500}, "servers refuse"),
        ({"metadata": {"runId": "run-7"}}, "metadata says 'runId': billing reads `run_id`"),
        ({"metadata": {"run_id": "run-8"}}, "an argument of its own"),
        ({"metadata": {"a": 1e400}}, "JSON"),
        ({"metadata": {"a": object()}}, "JSON"),
        ({"metadata": {7: 7}}, "must be text"),
        ({"agent": "undefined"}, "agent is 'undefined'"),
    ],
)  # fmt: skip
def test_a_wrong_argument_of_a_call_is_refused_with_what_is_wrong(
    arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(WrongInputError, match=words):
        Run("run-7").call(**arguments)


def test_a_tag_of_the_run_is_no_text_taken_apart_and_may_come_from_a_generator() -> None:
    with pytest.raises(WrongInputError, match="must be a list"):
        Run("run-7", tags="team-a")
    run = Run("run-7", tags=(tag for tag in ("team-a", "nightly")))
    assert run.call(tags=iter(["urgent"])).headers[TAGS] == "team-a,nightly,urgent"
    assert TAGS not in Run("run-7").call().headers


def test_every_tag_that_the_helper_lets_through_is_kept_with_those_of_litellm() -> None:
    run = Run("run-7", tags=[f"t{n}" for n in range(90)])
    headers = {**run.call().headers}
    headers[TAGS] += ",User-Agent: python,User-Agent: python/3"
    assert len(charged(headers).tags) == 92 <= KEPT_TAGS


@pytest.mark.parametrize("account", ["run-7/2", "", "ü", "None", '{"a": 1}'])
def test_an_account_that_would_not_pay_is_refused(account: str) -> None:
    with pytest.raises(WrongInputError, match="account"):
        Run("run-7", account=account)


def test_who_pays_is_left_to_others_unless_it_is_said() -> None:
    assert END_USER not in Run("run-7").call().headers
    assert Run("run-7", account="acme").call().headers[END_USER] == "acme"


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({METADATA: '{"runId": "run-7"}'}, "run id missing: metadata says `runId`; write `run_id`"),
        ({METADATA: '{"RUN-ID": "run-7"}'}, "run id missing: metadata says `RUN-ID`; write"),
        (
            {METADATA: '{"run_id": "r", "graphId": "g"}'},
            "metadata says `graphId`; write `graph_id`",
        ),
        ({METADATA: '{"graph_id": "g"}'}, "run id missing: metadata has no `run_id`"),
        ({METADATA: '{"run_id": 7}'}, "run_id must be text"),
        ({METADATA: '{"run_id": "r", "attempt": "2"}'}, "attempt must be"),
        ({METADATA: '{"run_id": "r", "agents": 1e400}'}, "JSON"),
        ({METADATA: '{"run_id": "r", "a": NaN}'}, "no JSON, so LiteLLM drops it"),
        ({METADATA: "{'run_id': 'run-7'}"}, "no JSON, so LiteLLM drops it"),
        ({METADATA: '["run-7"]'}, "must be a JSON object"),
        ({METADATA: '{"run_id": "ü"}'}, "ASCII"),
        ({"X-LiteLLM-Spend-Logs-Metadata": "{"}, "no JSON"),
        ({METADATA: '{"run_id": "r"}', TAGS: "a,,b"}, "a tag is empty"),
        ({END_USER: "acme"}, "there is no header x-litellm-spend-logs-metadata"),
        ({}, "there is no header x-litellm-spend-logs-metadata"),
        (7, "mapping or pairs"),
    ],
)
def test_headers_of_a_programs_own_are_refused_with_what_is_wrong(
    headers: object, words: str
) -> None:
    with pytest.raises(WrongInputError, match=words):
        check_headers(headers)


@pytest.mark.parametrize(
    "headers",
    [
        Run("run-7", account="acme", tags=["a"], metadata={"ticket": 4711}).call().headers,
        {END_USER: "run-7/2"},
        {METADATA: '{"graph_id": "g"}', END_USER: "run-7/2", "authorization": "Bearer x"},
        [(METADATA.encode(), b'{"run_id": "r", "attempt": 2}')],
    ],
)
def test_headers_that_name_a_run_are_taken(headers: object) -> None:
    check_headers(headers)


def test_what_else_a_program_wants_to_find_in_litellm_goes_with_the_names() -> None:
    run = Run("run-7", attempt=2, metadata={"ticket": 1, "stage": "dev"})
    said = json.loads(run.call(agent="a", metadata={"ticket": 2}).headers[METADATA])
    assert said == {"run_id": "run-7", "attempt": 2, "sub_agent_id": "a", "ticket": 2,
                    "stage": "dev"}  # fmt: skip
