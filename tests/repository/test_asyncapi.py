"""The AsyncAPI document says what is on the topics, and AsyncAPI's own parser takes it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from docs.asyncapi import (
    CALLBACK_HEADERS,
    CHECKPOINT_HEADERS,
    CORRECTION_HEADERS,
    CREDIT_HEADERS,
    DEAD_LETTER_HEADERS,
    RECEIPT_HEADERS,
    RUN_TOTAL_HEADERS,
)
from schemas import headers
from tests.downloads import javascript
from tests.inputs import captures
from tests.waiting import NET_SECONDS

ROOT = Path(__file__).parents[2]
PATH = ROOT / "schemas" / "asyncapi.json"
DOCUMENT: dict[str, Any] = json.loads(PATH.read_text("utf-8"))
PARSE = """
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";
const read = readFileSync(process.argv[2], "utf8");
const { document, diagnostics } = await new Parser().parse(read);
const channels = document?.channels().all().map((channel) => channel.address());
console.log(JSON.stringify({ channels, diagnostics }));
"""
NO_HEADERS = {"LOST_NAME"}
"""Constants of the headers' module that are texts and name none."""


def parsed(path: Path, directory: Path) -> dict[str, Any]:
    """What AsyncAPI's own parser says of a document."""
    if lacking := javascript.missing():
        pytest.skip(f"{lacking}: AsyncAPI's own parser was not asked")
    done = subprocess.run(
        [*javascript.script(directory, "parse.mjs", PARSE), str(path)],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_asyncapis_own_parser_finds_nothing_wrong(tmp_path: Path) -> None:
    declared = yaml.safe_load((ROOT / "schemas" / "topics.yaml").read_text("utf-8"))["topics"]
    said = parsed(PATH, tmp_path)
    assert said["diagnostics"] == []
    assert said["channels"] == [topic["name"] for topic in declared.values()]


def test_the_parser_is_asked_indeed(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text(PATH.read_text("utf-8").replace("#/components/messages/receipt", "#/none"))
    assert parsed(broken, tmp_path)["diagnostics"] != []


def test_every_header_of_the_contract_is_described() -> None:
    named = {
        value
        for name, value in vars(headers).items()
        if name.isupper() and isinstance(value, str) and name not in NO_HEADERS
    }
    assert named == set(CALLBACK_HEADERS | DEAD_LETTER_HEADERS)
    example = json.loads((ROOT / "schemas/examples/receipt-headers.json").read_text("utf-8"))
    assert set(example) == set(RECEIPT_HEADERS) - {"traceparent"}
    example = json.loads((ROOT / "schemas/examples/correction-headers.json").read_text("utf-8"))
    assert set(example) == set(CORRECTION_HEADERS)
    example = json.loads((ROOT / "schemas/examples/checkpoint-headers.json").read_text("utf-8"))
    assert set(example) == set(CHECKPOINT_HEADERS)
    name = "schemas/examples/run-total-headers.json"
    assert set(json.loads((ROOT / name).read_text("utf-8"))) == set(RUN_TOTAL_HEADERS)
    example = json.loads((ROOT / "schemas/examples/credit-event-headers.json").read_text("utf-8"))
    assert set(example) == set(CREDIT_HEADERS)


@pytest.mark.parametrize(
    "name",
    ["receipt", "correction", "checkpoint", "run_total", "usage_unit", "credit_event"],
)
def test_the_example_is_what_the_document_says(name: str) -> None:
    message = DOCUMENT["components"]["messages"][name]
    whole = message["payload"]["schema"] | {"components": DOCUMENT["components"]}
    (example,) = message["examples"]
    Draft7Validator(whole).validate(example["payload"])
    if "headers" in message:
        Draft7Validator(message["headers"]).validate(example["headers"])


def test_what_proxies_sent_is_what_the_document_says() -> None:
    schema = DOCUMENT["components"]["messages"]["callback"]["payload"]["schema"]
    validator = Draft7Validator(schema | {"components": DOCUMENT["components"]})
    values = [json.loads(value) for value in captures.all_elements()]
    assert [value for value in values if not validator.is_valid(value)] == []
    assert len(values) > 40
