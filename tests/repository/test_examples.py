"""Every example is held against the code, and no example stands there unused."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from charging.corrections import Charged, Wish, change
from charging.decision import decide
from charging.outcomes import Charge, Deferred, Parked, Skipped, Usage
from schemas.checkpoint import Checkpoint
from schemas.checkpoint import to_kafka as checkpoint_to_kafka
from schemas.correction import Correction, correction_id
from schemas.correction import to_kafka as correction_to_kafka
from schemas.credits import CreditEvent
from schemas.credits import to_kafka as credit_to_kafka
from schemas.receipt import Receipt, plain, to_kafka
from schemas.run_total import RunTotal
from schemas.run_total import to_kafka as total_to_kafka
from schemas.usage import UsageUnit
from tests.inputs import captures, spend_log_captures
from tests.inputs.callbacks import USAGE_UNITS, charged, element, policy, record, verdict

EXAMPLES = captures.CAPTURES.parent
CAPTURED_POLICY = policy(
    free=tuple(captures.FREE_MODELS.split(",")),
    not_billable=frozenset(
        {
            "acreate_file",
            "afile_content",
            "acreate_batch",
            "aretrieve_batch",
            "aget_responses",
            "list_mcp_tools",
            "amoderation",
        }
    ),
)
GUIDES = {"litellm/README.md", "litellm/expected.tsv", "callbacks/outcomes.yaml", "README.md"}
"""What describes the examples and is read by a test as such."""
OWN = {
    "correction.json",
    "correction-headers.json",
    "checkpoint.json",
    "checkpoint-headers.json",
    "run-total.json",
    "run-total-headers.json",
    "credit-event.json",
    "credit-event-headers.json",
    "receipt.json",
    "receipt-headers.json",
    "usage-unit.json",
}


class Outcome(BaseModel):
    """What `callbacks/outcomes.yaml` says about one file."""

    model_config = ConfigDict(extra="forbid")

    becomes: str
    reason: str
    why: str
    credits: int | None = None
    marks: list[str] = []


def outcomes() -> dict[str, Outcome]:
    """The outcome of each hostile callback, by file."""
    text = (EXAMPLES / "callbacks" / "outcomes.yaml").read_text("utf-8")
    return {name: Outcome.model_validate(said) for name, said in yaml.safe_load(text).items()}


def present() -> Iterator[str]:
    """The path of every example."""
    for path in sorted(EXAMPLES.rglob("*")):
        if path.is_file():
            yield path.relative_to(EXAMPLES).as_posix()


def test_no_example_is_unused() -> None:
    used = {f"litellm/{file}" for file in captures.files()}
    used |= {f"callbacks/{file}" for file in outcomes()}
    used |= {f"spend-logs/{file}" for file in spend_log_captures.FILES}
    assert set(present()) == used | OWN | GUIDES


def test_every_capture_is_described() -> None:
    described = (captures.CAPTURES / "README.md").read_text("utf-8")
    assert [file for file in captures.files() if f"`{file}`" not in described] == []


@pytest.mark.parametrize("file", captures.files())
def test_the_captures_become_what_expected_tsv_says(file: str) -> None:
    expected = [line for line in captures.expectations() if line.file == file]
    elements = captures.elements(file)
    assert [line.index for line in expected] == list(range(len(elements)))
    for line, value in zip(expected, elements, strict=True):
        decision = decide(record(value), CAPTURED_POLICY)
        match line.verdict:
            case "RECEIPT":
                assert isinstance(decision, Charge), line
                assert plain(decision.receipt.response_cost_usd) == line.amount, line
                assert decision.receipt.response_id == line.response_id
                assert decision.receipt.litellm_call_id == line.litellm_call_id
            case "DEDUP":
                assert isinstance(decision, Charge), line
                assert decision.receipt.call_key in billed_before(file)
            case "SKIP":
                assert isinstance(decision, Skipped), line
            case "DEFER":
                assert isinstance(decision, Deferred), line
                assert decision.reason == "suspicious_zero"


def billed_before(file: str) -> set[str]:
    """The call keys of the captures that stand before `file` in expected.tsv."""
    files = captures.files()
    decisions = [
        decide(record(value), CAPTURED_POLICY)
        for earlier in files[: files.index(file)]
        for value in captures.elements(earlier)
    ]
    return {found.receipt.call_key for found in decisions if isinstance(found, Charge)}


def test_CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID_the_key_separates_every_captured_charge() -> None:
    lines = captures.expectations()
    keys = [
        decision.receipt.call_key
        for value in captures.all_elements()
        if isinstance(decision := decide(record(value), CAPTURED_POLICY), Charge)
    ]
    assert len(set(keys)) == sum(line.verdict == "RECEIPT" for line in lines)
    assert len(keys) - len(set(keys)) == sum(line.verdict == "DEDUP" for line in lines)


@pytest.mark.parametrize(("file", "said"), outcomes().items())
def test_the_hostile_callbacks_become_what_outcomes_yaml_says(file: str, said: Outcome) -> None:
    decision = verdict((EXAMPLES / "callbacks" / file).read_bytes())
    assert type(decision).__name__.lower() == {"receipt": "charge"}.get(said.becomes, said.becomes)
    if isinstance(decision, Charge):
        assert decision.receipt.charge_reason == said.reason
        assert decision.receipt.charged_credits == said.credits
        assert decision.receipt.marks == said.marks
    elif isinstance(decision, Deferred | Skipped | Parked):
        assert decision.reason == said.reason


def example(name: str) -> Any:  # noqa: ANN401 - JSON
    """A JSON example."""
    return json.loads((EXAMPLES / name).read_text("utf-8"))


def test_the_receipt_example_is_an_event_as_it_is_published() -> None:
    receipt = charged(
        element(
            metadata={
                "spend_logs_metadata": {
                    "run_id": "run-1",
                    "attempt": 2,
                    "graph_id": "langgraph:poet",
                    "sub_agent_id": "writer",
                },
                "user_api_key_team_id": "team-poets",
                "user_api_key_team_alias": "Poets",
                "user_api_key_alias": "poets-production",
                "user_api_key_org_id": "org-1",
            }
        )
    ).receipt
    message = to_kafka(receipt)
    assert json.loads(message.value) == example("receipt.json")
    headers = {name: value.decode() for name, value in message.headers.items()}
    assert headers == example("receipt-headers.json")
    assert msgspec.convert(example("receipt.json"), Receipt) == receipt


def test_the_checkpoint_example_is_what_is_published() -> None:
    value = (EXAMPLES / "checkpoint.json").read_bytes()
    message = checkpoint_to_kafka(msgspec.json.decode(value, type=Checkpoint))
    assert json.loads(message.value) == example("checkpoint.json")
    headers = {name: value.decode() for name, value in message.headers.items()}
    assert headers == example("checkpoint-headers.json")


def test_the_run_total_example_is_what_is_published() -> None:
    value = (EXAMPLES / "run-total.json").read_bytes()
    message = total_to_kafka(msgspec.json.decode(value, type=RunTotal))
    assert json.loads(message.value) == example("run-total.json")
    headers = {name: value.decode() for name, value in message.headers.items()}
    assert headers == example("run-total-headers.json")


def test_the_correction_example_is_what_is_published_of_the_receipt_example() -> None:
    value = (EXAMPLES / "correction.json").read_bytes()
    one = msgspec.json.decode(value, type=Correction)
    message = correction_to_kafka(one)
    assert json.loads(message.value) == example("correction.json")
    headers = {name: value.decode() for name, value in message.headers.items()}
    assert headers == example("correction-headers.json")
    receipt = msgspec.convert(example("receipt.json"), Receipt)
    now = Charged(receipt.charged_usd, receipt.charged_credits)
    made = change(now, Wish(one.reason, one.amount_usd))
    assert one.id == correction_id(one.reference)
    assert made == (one.amount_usd, one.amount_credits, (one.corrected_usd, one.corrected_credits))
    assert message.key == to_kafka(receipt).key
    shared = {"call_key", "litellm_call_id", "response_id", "run_id", "attempt", "model", "team_id"}
    assert {
        example("correction.json")[name] == example("receipt.json")[name] for name in shared
    } == {True}


def test_the_credit_event_example_is_what_is_published() -> None:
    value = (EXAMPLES / "credit-event.json").read_bytes()
    message = credit_to_kafka(msgspec.json.decode(value, type=CreditEvent))
    assert json.loads(message.value) == example("credit-event.json")
    headers = {name: value.decode() for name, value in message.headers.items()}
    assert headers == example("credit-event-headers.json")


def test_the_usage_unit_example_is_one() -> None:
    value = (EXAMPLES / "usage-unit.json").read_bytes()
    decision = decide(record(value, topic=USAGE_UNITS), policy())
    assert isinstance(decision, Usage)
    assert decision.unit == UsageUnit.model_validate(example("usage-unit.json"))
    assert decision.unit.key() == b"run-1"


def test_the_unit_that_the_executors_page_posts_says_that_a_run_has_ended() -> None:
    page = (EXAMPLES.parents[1] / "docs" / "executors.md").read_text("utf-8")
    [shown] = re.findall(r"/v1/usage-units\" \\\n +--data-binary '([^']+)'", page)
    unit = UsageUnit.model_validate_json(shown)
    assert (unit.run_id, unit.run_completed) == ("run-7", True)


def test_the_guide_names_every_folder_and_file_beside_it() -> None:
    guide = (EXAMPLES / "README.md").read_text("utf-8")
    for name in (*OWN, "callbacks/outcomes.yaml", "litellm/"):
        assert f"`{name}`" in guide
