"""A call of an executor: what its answer tells, whatever it is; and what the client consists of."""

import ast
import dataclasses
import inspect
import json
import re
import sys
from email.message import Message
from pathlib import Path

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import billing_stream_client
from billing_stream_client import Call, Run, Unit
from schemas.usage import UsageUnit

CLIENT = Path(__file__).parents[2] / "billing_stream_client"
CALL_ID = "x-litellm-call-id"
MONEY = re.compile(r"cost|price|usd|credit|charge|amount|spend(?!-logs-metadata)", re.IGNORECASE)


def test_a_stream_may_be_told_twice_and_is_one_unit() -> None:
    run = Run("run-7")
    call = run.call()
    assert call.answered({CALL_ID: "c-1"}, model="gpt") == "c-1"
    (first,) = run.units
    assert call.answered(response_id="r-1", tokens_in=8, tokens_out=4) == "c-1"
    (unit,) = run.units
    assert unit.unit_id == first.unit_id
    assert (unit.litellm_call_id, unit.response_id, unit.model) == ("c-1", "r-1", "gpt")
    assert (unit.tokens_in, unit.tokens_out) == (8, 4)


@pytest.mark.parametrize(
    ("told", "ids"),
    [
        ([("c-1", None), ("c-2", None)], [("c-1", None), ("c-2", None)]),
        ([("c-1", None), ("c-2", None), ("c-1", "r-1")], [("c-1", "r-1"), ("c-2", None)]),
        ([(None, "r-1"), ("c-1", None)], [("c-1", "r-1")]),
        ([(None, "r-1"), (None, "r-2")], [(None, "r-1"), (None, "r-2")]),
        ([("c-1", "r-1"), (None, "r-2")], [("c-1", "r-1"), (None, "r-2")]),
    ],
)
def test_an_answer_with_another_id_is_another_call(
    told: list[tuple[str | None, str | None]], ids: list[tuple[str | None, str | None]]
) -> None:
    run = Run("run-7")
    call = run.call()
    for call_id, response_id in told:
        call.answered({CALL_ID: call_id} if call_id else None, response_id=response_id)
    assert [(unit.litellm_call_id, unit.response_id) for unit in run.units] == ids
    assert len({unit.unit_id for unit in run.units}) == len(ids)
    assert [unit.started_at is None for unit in run.units] == [False, True][: len(ids)]


def as_message() -> Message:
    """Headers as `urllib` and `http.client` have them."""
    message = Message()
    message[CALL_ID] = "c-1"
    return message


@pytest.mark.parametrize(
    "headers",
    [
        {"X-LITELLM-CALL-ID": " c-1 "},
        httpx.Headers({"X-Litellm-Call-Id": "c-1"}),
        [("X-Litellm-Call-Id", "c-1")],
        [(b"x-litellm-call-id", b"c-1")],
        as_message(),
    ],
    ids=lambda headers: type(headers).__name__,
)
def test_the_call_id_is_read_from_headers_of_any_library(headers: object) -> None:
    assert Run("run-7").call().answered(headers) == "c-1"


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> object:
        raise OSError(name)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=600),
    st.binary(),
    st.lists(st.integers()),
    st.builds(Hostile),
    st.dictionaries(st.just(CALL_ID) | st.text(), st.text(max_size=600) | st.integers()),
)


@given(headers=ODD, response_id=ODD, model=ODD, tokens_in=ODD, tokens_out=ODD)
@example({CALL_ID: "c\n1"}, None, None, None, None)
@example({CALL_ID: "c-1"}, "r" * 513, "", 2**53, -1)
@example({CALL_ID: "c-1"}, "\ud800", "\x00", True, 2**53 - 1)
@example({CALL_ID: "c" * 513}, None, None, None, None)
def test_BILLING_NEVER_THROWS_whatever_an_answer_is_said_to_be(
    headers: object, response_id: object, model: object, tokens_in: object, tokens_out: object
) -> None:
    run = Run("run-7")
    run.call().answered(
        headers, response_id=response_id, model=model, tokens_in=tokens_in, tokens_out=tokens_out
    )
    assert len(run.units) + run.unnamed == 1
    for unit in run.units:
        taken = UsageUnit.model_validate_json(json.dumps(unit.row()))
        assert taken.litellm_call_id or taken.response_id


def test_an_answer_without_an_id_is_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    run = Run("run-7")
    run.call().answered({"content-type": "application/json"})
    assert (run.unnamed, run.units) == (1, ())
    assert "no x-litellm-call-id" in caplog.text


def test_a_program_is_called_by_its_name_unless_it_says_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for argv, name in ((["/srv/agents/poet.py"], "poet"), (["\x00"], "python"), ([], "python")):
        monkeypatch.setattr(sys, "argv", argv)
        assert Run("run-7").executor == name


def test_a_unit_has_the_fields_of_the_contract_and_no_others() -> None:
    assert {field.name for field in dataclasses.fields(Unit)} == set(UsageUnit.model_fields)


def test_ADAPTERS_NEVER_BILL_no_name_in_the_client_is_of_money() -> None:
    names = set[str]()
    for file in CLIENT.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Name(id=name) | ast.arg(arg=name) | ast.Attribute(attr=name):
                    names.add(name)
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.alias(name=name):
                    names.add(name)
                case ast.Constant(value=str(text)) if " " not in text:
                    names.add(text)
    assert len(names) > 100
    assert [name for name in names if MONEY.search(name)] == []
    for made in (Run, Run.call, Call.answered):
        assert not any(MONEY.search(name) for name in inspect.signature(made).parameters)


def test_the_client_imports_the_standard_library_and_itself_alone() -> None:
    imported = set[str]()
    for file in CLIENT.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                imported.add(node.module or "")
    tops = {name.partition(".")[0] for name in imported}
    assert tops <= {*sys.stdlib_module_names, billing_stream_client.__name__}
