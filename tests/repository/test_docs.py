"""The pages say what is there: links, invariants, alerts, metrics, settings, dependencies."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
import yaml
from pydantic_settings import BaseSettings

import consumer.settings
import demo.settings
import operator_cli.settings
import producer_gateway.settings
import reconciler.settings
import spend_guard.settings
from docs.generate import DOCUMENTS
from runtime.environment import BILLING_VARIABLES, FILE_SUFFIX, variables
from runtime.kafka import KafkaConnection
from schemas.headers import Reason
from tests.repository.test_observability import former, measured

ROOT: Final = Path(__file__).parents[2]
WRITTEN: Final = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "tests/README.md",
    ]
)
GENERATED: Final = {ROOT / path: text for path, text in DOCUMENTS.items()}
PAGES: Final = {
    **{page: page.read_text() for page in WRITTEN},
    **{path: text() for path, text in GENERATED.items() if path.suffix == ".md"},
}
ROOMS: Final = (
    *("producer_gateway", "consumer", "operator_cli", "reconciler", "ledger", "charging"),
    "spend_guard",
    *("runtime", "schemas", "billing_stream_client", "demo"),
)

INVARIANTS: Final = (
    "ACCEPTED_IS_DURABLE",
    "RAW_BYTES_SURVIVE",
    "ONE_RUN_ONE_PARTITION",
    "ONE_BILLING_PATH",
    "COST_ORACLE_IS_LITELLM",
    "CHARGE_RECEIPTS_IDEMPOTENT_BY_CALL_ID",
    "ONE_CALL_ONE_RECEIPT_WHICHEVER_PATH",
    "NO_ZERO_RECEIPTS_FOR_PAID_MODELS",
    "NO_PLACEHOLDER_RECEIPTS",
    "ONE_LEDGER_WRITER",
    "RECEIPTS_ARE_IMMUTABLE",
    "COMMIT_AFTER_WRITE",
    "RECEIPTS_PUBLISHED_EXACTLY_ONCE",
    "ONE_BAD_ELEMENT_LOSES_NO_NEIGHBOUR",
    "NOTHING_VANISHES",
    "EVERY_HOLD_ENDS_ONCE",
    "MONEY_IS_EXACT",
    "NO_SYNCHRONOUS_RECEIPT_BARRIER",
    "BILLING_NEVER_THROWS",
    "ADAPTERS_NEVER_BILL",
    "NO_CONTENT_IN_RECEIPTS",
)
ARCHITECTURE: Final = "docs/architecture.md"
CODE: Final = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
VARIABLE: Final = re.compile(
    r"(?<![\w./])(?:BILLING|GATEWAY|CONSUMER|RECONCILER|SPEND_GUARD|KAFKA)_[A-Z][A-Z_]*[A-Z]\b"
)
METRIC: Final = re.compile(
    r"\bbilling_(?:gateway|consumer|ledger|reconciler|guard|missing|deferred)_[a-z_]*[a-z]\b"
)
FOREIGN: Final = {
    *("GATEWAY_URL", "GATEWAY_METRICS_URL", "CONSUMER_METRICS_URL"),  # left by `make up`
    *("SPEND_GUARD_URL", "SPEND_GUARD_METRICS_URL"),  # left by `make up`
    *("BILLING_CALLBACK_URL", "BILLING_CALLBACK_AUTHORIZATION"),  # of the sample proxy
    "KAFKA_PORT",  # what Kubernetes would invent
}
PLUGIN: Final = ROOT / "deploy/litellm/spend_guard.py"
"""Has variables of its own, in LiteLLM's environment."""
TABLES: Final = {
    *("billing_consumer", "billing_guard", "billing_reader", "billing_reconciler"),
    "deferred_calls",
}


def short(page: Path) -> str:
    """The page's path as a test's id."""
    return str(page.relative_to(ROOT))


def rows(page: str, header: str) -> list[list[str]]:
    """The cells of the table whose header line begins with `header`."""
    _, _, after = PAGES[ROOT / page].partition(f"\n{header}")
    assert after, f"{page} has no table {header}"
    lines = after.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", text), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def functions() -> dict[str, set[str]]:
    """The test functions of each test file."""
    found: dict[str, set[str]] = {}
    for file in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.walk(ast.parse(file.read_text()))
        names = {node.name for node in tree if isinstance(node, ast.FunctionDef)}
        found[short(file)] = {name for name in names if name.startswith("test_")}
    return found


def settings() -> list[type[BaseSettings]]:
    """The settings classes of all rooms."""
    return [
        producer_gateway.settings.Settings,
        consumer.settings.Settings,
        reconciler.settings.Settings,
        spend_guard.settings.Settings,
        operator_cli.settings.Settings,
        demo.settings.StackSettings,
    ]


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(CODE.sub("", PAGES[page])):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists() or found in GENERATED, f"{target} is not there"
        assert found.is_relative_to(ROOT), f"{target} leaves the project"
        if anchor:
            text = PAGES[found] if found in PAGES else found.read_text()
            assert anchor in anchors(text), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_only_variables_that_are_read_are_named(page: Path) -> None:
    known = {name for room in settings() for name in variables(room)}
    known |= FOREIGN | set(INVARIANTS) | set(VARIABLE.findall(PLUGIN.read_text("utf-8")))
    named = set(VARIABLE.findall(PAGES[page]))
    unknown = {name for name in named if name.removesuffix(FILE_SUFFIX) not in known}
    assert not unknown


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_only_metrics_that_are_measured_are_named(page: Path) -> None:
    # The changelog says which name a metric had before; no other page does.
    known = {*measured(), *(former() if page.name == "CHANGELOG.md" else ())}
    assert set(METRIC.findall(PAGES[page])) - TABLES <= known


def test_every_page_can_be_found() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in WRITTEN
        for target in LINK.findall(PAGES[page])
        if not target.startswith("#")
    }
    folders = {path for path in linked if path.is_dir()}
    lost = {page for page in PAGES if page not in linked and page.parent not in folders}
    assert lost == {ROOT / "README.md"}


def test_every_invariant_has_a_row_and_a_test_that_carries_its_name() -> None:
    found, table = functions(), rows("docs/invariants.md", "| invariant |")
    assert [row[0] for row in table] == list(INVARIANTS)
    for name, meaning, ensured, proven in table:
        assert meaning.endswith("."), name
        assert LINK.search(ensured), f"{name} names no file"
        for identity in proven.split(", "):
            file, _, test = identity.strip("`").partition("::")
            assert test in found.get(file, set()), f"{identity} is not there"
            assert test.startswith(f"test_{name}"), f"{test} does not carry the name"


def test_no_test_carries_the_name_of_an_unknown_invariant() -> None:
    names = {name for file in functions().values() for name in file}
    carried = {
        found[1] for name in names if (found := re.match(r"test_([A-Z]{2,}(?:_[A-Z]+)+)", name))
    }
    assert carried == set(INVARIANTS)


def test_every_alert_has_a_row_in_the_runbook() -> None:
    groups = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    table = rows("docs/operations.md", "| alert |")
    assert {row[0].strip("`") for row in table} == alerts
    assert all(len(row) == 3 and all(row) for row in table)


def test_every_reason_of_a_dead_letter_has_a_row_in_the_runbook() -> None:
    named = {
        reason
        for row in rows("docs/operations.md", "| reason | what it is |")
        for reason in re.findall(r"`(\w+)`", row[0])
    }
    known = {reason.value for reason in Reason}
    assert named == known
    (line,) = re.findall(
        r"^\| `reason` \| a code: (.+?) \|$", PAGES[ROOT / "docs/subscribers.md"], re.MULTILINE
    )
    assert set(re.findall(r"`(\w+)`", line)) == known


def test_every_runtime_dependency_has_its_line_and_nothing_else_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [re.split(r"[\[<>=]", line)[0] for line in project["dependencies"]]
    table = rows("docs/dependencies.md", "| package |")
    assert [row[0].strip("`") for row in table] == declared
    assert all(row[1] for row in table)


def test_the_rooms_read_the_kafka_variables_that_the_security_page_says() -> None:
    connection = set(variables(KafkaConnection)) - {"KAFKA_BOOTSTRAP_SERVERS"}
    read = [set(variables(room)) for room in settings()[:2]]
    table = rows("docs/security.md", "| variable | gateway |")
    assert {row[0].strip("`") for row in table} == connection
    for name, *said in table:
        assert said == ["yes" if name.strip("`") in room else "no" for room in read], name


@pytest.mark.parametrize("room", ROOMS)
def test_no_file_is_longer_than_the_page_says(room: str) -> None:
    [most] = re.findall(r"No file .* is longer than (\d+) lines\.", PAGES[ROOT / ARCHITECTURE])
    files = {*(ROOT / room).rglob("*.py"), *(ROOT / room).rglob("*.sql")}
    files -= {ROOT / "ledger" / "schema.sql"}
    assert max(len(file.read_text().splitlines()) for file in files) <= int(most)


def test_every_room_stands_wherever_rooms_are_listed() -> None:
    found = {path.parent.name for path in ROOT.glob("[a-z]*/__init__.py")} - {"tests", "docs"}
    assert found == set(ROOMS)
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert set(tools["importlinter"]["root_packages"]) == found
    assert set(tools["mypy"]["files"]) == found | {"tests", "docs", "deploy"}
    assert {row[1].split("`")[1].rstrip("/") for row in rows(ARCHITECTURE, "| floor |")} == found
    directories = {row[0].split("`")[1].rstrip("/") for row in rows("README.md", "| directory |")}
    assert found <= directories


def test_every_variable_that_rooms_share_is_known_to_all() -> None:
    shared = {name for room in settings() for name in variables(room) if name[:8] == "BILLING_"}
    assert shared == set(BILLING_VARIABLES)


DECISIONS: Final = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
PARTS: Final = ["Context", "Decision", "Consequences", "Rejected"]


def headings(page: Path) -> list[str]:
    """The headings of a page, in order."""
    return re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(page.name[:4]) for page in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))
    for page in DECISIONS:
        title, *parts = headings(page)
        assert re.match(rf"{page.name[:4]} \S", title), page.name
        assert parts == PARTS, page.name
    assert headings(ROOT / "docs/decisions/template.md")[1:] == PARTS


def test_the_index_has_every_decision_under_its_title() -> None:
    said = rows("docs/decisions/README.md", "| number | title |")
    found = [(page.name, *headings(page)[0].split(" ", 1)) for page in DECISIONS]
    assert [row[:2] for row in said] == [[f"[{no}]({file})", title] for file, no, title in found]
    assert all(row[2].endswith("?") for row in said)
