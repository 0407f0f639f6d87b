"""What is generated from the code is committed as it would be generated now."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from docs.generate import DOCUMENTS, ROOT
from tests.inputs import captures
from tests.inputs.callbacks import payload

SCHEMAS = [path for path in DOCUMENTS if path.suffix == ".json" and path.parts[0] == "schemas"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_the_committed_file_is_current(path: Path) -> None:
    assert (ROOT / path).read_text("utf-8") == DOCUMENTS[path](), "run `make schemas`"


def formats(node: object) -> Iterator[str]:
    """Every format that a schema asks for."""
    if isinstance(node, dict):
        if isinstance(node.get("format"), str):
            yield node["format"]
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from formats(part)


@pytest.mark.parametrize("path", SCHEMAS, ids=str)
def test_no_schema_has_a_format_that_only_we_know(path: Path) -> None:
    """A strict validator refuses it: these two are of JSON Schema's own vocabulary."""
    assert set(formats(json.loads(DOCUMENTS[path]()))) <= {"date-time", "uuid"}


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({}, True),
        ({"id": 5, "end_user": 1.5, "metadata": {"user_api_key_team_id": 7}}, True),
        ({"response_cost": None, "metadata": None, "request_tags": None, "unknown": [1]}, True),
        ({"response_cost": "0.1", "cost_breakdown": {"total_cost": "0.1"}}, True),
        ({"status": ...}, False),
        ({"status": None}, False),
        ({"id": True}, False),
        ({"response_cost": True}, False),
        ({"prompt_tokens": 1.5}, False),
        ({"metadata": {"usage_object": [1]}}, False),
        ({"metadata": {"requester_custom_headers": {"x-litellm-end-user-id": [1]}}}, False),
    ],
)
def test_the_schema_of_the_callback_takes_what_it_has_always_taken(
    fields: dict[str, object], *, fits: bool
) -> None:
    callback = json.loads((ROOT / "schemas/json/callback.schema.json").read_text("utf-8"))
    assert Draft202012Validator(callback).is_valid(payload(**fields)) == fits


def test_the_schema_of_the_callback_takes_what_proxies_sent() -> None:
    callback = json.loads((ROOT / "schemas/json/callback.schema.json").read_text("utf-8"))
    validator = Draft202012Validator(callback)
    for sent in captures.all_elements():
        validator.validate(json.loads(sent))
