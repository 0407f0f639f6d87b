"""The system ring looks from outside: it must hold against any deployment of any version."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OURS = {
    *("schemas", "runtime", "charging", "ledger"),
    *("producer_gateway", "consumer", "operator_cli", "demo", "reconciler"),
    "billing_stream_client",
}
SEEN_FROM_OUTSIDE = (
    *("deployment", "ledger", "topics", "captures", "stack", "waiting", "proxies", "sdks"),
)
FILES = [
    *sorted((TESTS / "system").glob("*.py")),
    *(TESTS / "services" / f"{name}.py" for name in SEEN_FROM_OUTSIDE),
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_system_ring_imports_none_of_our_packages(file: Path) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    assert not {name for name in imported if name.partition(".")[0] in OURS}
