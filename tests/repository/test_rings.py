"""The system ring looks from outside. Each folder is a ring or a part; no part imports a ring."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
TESTS: Final = ROOT / "tests"
OURS: Final = {
    *("schemas", "runtime", "charging", "ledger"),
    *("producer_gateway", "consumer", "operator_cli", "demo", "reconciler", "spend_guard"),
    "billing_stream_client",
}
RINGS: Final = {
    *("unit", "repository", "integration", "system"),
    *("simulation", "chaos", "cluster", "bench"),
}
OWN_SERVER: Final = TESTS / "databases" / "database.py"
"""Where nobody gives a deployment, the system ring's own one has a database of the run's server."""


def imported(file: Path) -> set[str]:
    """Every module that a file may import by its name, and every name that it takes out of one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found.update({module, *(f"{module}.{alias.name}" for alias in node.names)})
    return found


def of_the_tests(file: Path) -> set[Path]:
    """Those of the tests' own files that a file imports."""
    paths = {ROOT / f"{name.replace('.', '/')}.py" for name in imported(file)}
    return {path for path in paths if path.is_relative_to(TESTS) and path.exists()}


def reached(files: set[Path]) -> set[Path]:
    """These files and all that they import of the tests, whatever lies between."""
    found: set[Path] = set()
    ahead = files
    while ahead:
        found |= ahead
        ahead = {next_ for file in ahead for next_ in of_the_tests(file)} - found - {OWN_SERVER}
    return found


FROM_OUTSIDE: Final = sorted(
    reached(
        {
            file
            for ring in ("system", "observers", "clients")
            for file in (TESTS / ring).glob("*.py")
        }
    )
)
PARTS: Final = sorted(
    file
    for folder in TESTS.iterdir()
    if folder.is_dir() and folder.name not in RINGS
    for file in folder.glob("*.py")
)


def named(file: Path) -> str:
    """A file as the report calls it."""
    return str(file.relative_to(TESTS))


@pytest.mark.parametrize("file", FROM_OUTSIDE, ids=named)
def test_the_system_ring_imports_none_of_our_packages(file: Path) -> None:
    assert not {name for name in imported(file) if name.partition(".")[0] in OURS}


def test_whatever_the_system_ring_sees_through_is_among_them() -> None:
    parts = {named(file) for file in FROM_OUTSIDE}
    assert parts >= {
        *("observers/deployment.py", "observers/ledger.py", "observers/topics.py"),
        *("inputs/captures.py", "processes/stack.py", "processes/proxies.py", "waiting.py"),
    }


def test_what_several_rings_use_knows_none_of_them() -> None:
    taken = {
        f"{named(file)} imports {name}"
        for file in PARTS
        for name in imported(file)
        if name.startswith("tests.") and name.split(".")[1] in RINGS
    }
    assert not taken


def test_the_map_has_every_folder_once() -> None:
    tables = (TESTS / "README.md").read_text().partition("## Rings\n")[2]
    rings, _, parts = tables.partition("## Side by side\n")[0].partition("## Parts\n")
    cells = re.findall(r"^\| ([^|]+) \|", rings + parts, re.MULTILINE)
    told = [folder for cell in cells for folder in re.findall(r"`(\w+)/`", cell)]
    assert sorted(told) == sorted(
        entry.name for entry in TESTS.iterdir() if any(entry.glob("*.py"))
    )
    assert set(re.findall(r"^\| `(\w+)/` \|", rings, re.MULTILINE)) == RINGS
