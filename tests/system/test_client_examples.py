"""The examples for executors, run as they stand against a real LiteLLM proxy."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from tests.downloads import sdks
from tests.inputs.captures import Calls
from tests.observers.deployment import Deployment
from tests.observers.ledger import Ledger, Row
from tests.observers.topics import Topics
from tests.waiting import NET_SECONDS, eventually

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "docs" / "examples"
RECEIPT_SECONDS: Final = 60.0
Who: TypeAlias = tuple[str | None, str | None, str | None, str | None]
WHO: Final = ("graph_id", "sub_agent_id", "parent_sub_agent_id", "tool_call_id")
PLANNER: Final[Who] = ("poems", "planner", None, None)
POET: Final[Who] = ("poems", "poet", "planner", "call_1")
NOBODY: Final[Who] = (None, None, None, None)


@dataclass(frozen=True)
class Expected:
    """What an example leaves: whose calls, who pays, and whose response id its library hides."""

    calls: tuple[Who, ...] = (PLANNER, POET)
    account: str = "acme"
    hidden: Who | None = None


PROGRAMS: Final = {
    "with_httpx": Expected(),
    "with_openai": Expected(),
    "with_anthropic": Expected(),
    "with_langchain": Expected(hidden=POET),
    # Its user is its run, so that the account is the one for calls that name none.
    "with_langgraph": Expected((PLANNER, POET, NOBODY), "unattributed"),
}
TAGS: Final = {PLANNER: {"example"}, POET: {"example", "night"}, NOBODY: set[str]()}


class Books:
    """What billing knows of a run."""

    def __init__(self, ledger: Ledger, topics: Topics) -> None:
        self._ledger, self._topics = ledger, topics

    def of(self, run: str, count: int) -> tuple[list[Row], list[Row]]:
        """Its receipts, once there are so many, and its usage units."""
        what = f"{count} receipts of {run}"
        receipts = self._ledger.receipts
        eventually(lambda: len(receipts(run_id=run)) >= count, what, RECEIPT_SECONDS)
        self._topics.wait_until_consumed()
        return receipts(run_id=run), self._ledger.usage_units(run_id=run)


@pytest.fixture
def books(ledger: Ledger, topics: Topics) -> Books:
    """The deployment's."""
    return Books(ledger, topics)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory with the client and nothing else of ours."""
    (tmp_path / "billing_stream_client").symlink_to(ROOT / "billing_stream_client")
    return tmp_path


def ran(program: str, run: str, path: Path, deployment: Deployment) -> str:
    """What an example prints that runs as attempt 3 of a run."""
    done = subprocess.run(
        [sdks.installed(), EXAMPLES / f"{program}.py", run, "3"],
        cwd=path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(path),
            "NO_PROXY": "127.0.0.1",
            "LITELLM_URL": deployment.litellm_url,
            "LITELLM_API_KEY": deployment.litellm_key,
            "GATEWAY_URL": deployment.gateway_url,
            "BILLING_INGEST_TOKEN": deployment.token,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def who(row: Row) -> Who:
    """Whose a call was."""
    graph, agent, parent, tool = (row[name] for name in WHO)
    return (graph, agent, parent, tool)


def test_there_is_an_expectation_for_each_example() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.py")} == set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_ADAPTERS_NEVER_BILL_receipts_and_units_of_an_example_say_the_same(
    program: str, path: Path, deployment: Deployment, books: Books, calls: Calls
) -> None:
    if not deployment.litellm_url:
        pytest.skip("the deployment names no LITELLM_URL and LITELLM_MASTER_KEY")
    run, expected = calls.name("run"), PROGRAMS[program]
    wanted = len(expected.calls)
    said = ran(program, run, path, deployment)
    assert said == f"Posted(accepted={wanted}, refused=0, waiting=0, said='')\n"
    receipts, units = books.of(run, wanted)
    assert len(receipts) == wanted
    assert {who(receipt) for receipt in receipts} == set(expected.calls)
    for receipt in receipts:
        assert receipt["attempt"] == 3
        assert receipt["billing_account_id"] == expected.account
        assert receipt["charged_credits"] > 0
        assert {tag for tag in receipt["tags"] if ":" not in tag} == TAGS[who(receipt)]
        assert not {"attribution_unreadable", "unattributed_run"} & set(receipt["marks"])

    by_call = {receipt["litellm_call_id"]: receipt for receipt in receipts}
    assert [unit for unit in units if unit["litellm_call_id"] not in by_call] == [], "unmatched"
    assert {unit["litellm_call_id"] for unit in units} == set(by_call)
    for unit in units:
        receipt = by_call[unit["litellm_call_id"]]
        assert who(unit) == who(receipt)
        assert (unit["attempt"], unit["executor"]) == (3, program)
        response_id = None if who(unit) == expected.hidden else receipt["response_id"]
        assert (unit["model"], unit["response_id"]) == (receipt["model"], response_id)
        tokens = (receipt["tokens_in"], receipt["tokens_out"])
        assert (unit["tokens_in"], unit["tokens_out"]) == tokens
        assert unit["started_at"] < unit["finished_at"]
