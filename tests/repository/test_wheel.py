"""The wheel: what `pip install .` brings, and that its command works away from a checkout."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.processes.compiled import ROOMS, ROOT
from tests.waiting import NET_SECONDS

pytestmark = pytest.mark.slow

BRINGS = {"starlette": "fastapi", "opentelemetry-api": "opentelemetry-sdk"}
"""What a dependency brings on purpose, by its name."""

CLIENT = "billing_stream_client"
USE = """
import sys
import billing_stream_client as client
run = client.Run("run-7", attempt=2)
assert run.call(agent="a").answered({"x-litellm-call-id": "c-1"}) == "c-1"
print(client.__file__, len(run.units))
"""


def ran(*command: str | Path, code: int = 0, **settings: str) -> str:
    """What a command prints, away from the checkout and without any setting of ours."""
    done = subprocess.run(
        command,
        cwd="/",
        env={"PATH": os.environ["PATH"], **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=NET_SECONDS,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def built(project: Path, into: Path) -> Path:
    """The wheel of the project in a directory."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)]
    subprocess.run(build, cwd=project, check=True, capture_output=True, timeout=NET_SECONDS)
    [wheel] = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the backend of the lock, without a network."""
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of programs of an environment with the wheel, and what it depends on."""
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory, with_pip=True)
    [packages] = directory.glob("lib/python*/site-packages")
    ours = Path(pytest.__file__).parents[1]
    (packages / "dependencies.pth").write_text(f"{ours}\n")
    pip: list[str | Path] = [
        directory / "bin" / "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
    ]
    ran(*pip, "--disable-pip-version-check", wheel)
    return directory / "bin"


def test_the_rooms_and_their_data_go_in_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {*ROOMS, CLIENT}
    assert not [name for name in names if name.startswith("schemas/examples")]
    data = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.suffix in {".sql", ".yaml", ".json"} and "examples" not in path.parts
    }
    assert data <= set(names)
    assert len([name for name in names if name.startswith("ledger/migrations/sql/")]) > 1
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_asks_for_all_that_its_modules_import(wheel: Path) -> None:
    """What is there only because the development packages bring it would fail elsewhere."""
    [metadata] = [
        zipfile.ZipFile(wheel).read(name).decode()
        for name in zipfile.ZipFile(wheel).namelist()
        if name.endswith(".dist-info/METADATA")
    ]
    asked = {line.split()[1] for line in metadata.splitlines() if line.startswith("Requires-Dist")}
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = document["project"], document["dependency-groups"]
    extra = set(project["optional-dependencies"]["tracing"])
    assert extra == set(groups["tracing"]), "the image has what the extra has"
    asked = {name.removesuffix(";") for name in asked}
    assert asked == {*project["dependencies"], *extra}
    direct = {re.split(r"[\[<>=~!]", name)[0].lower() for name in asked}
    imported = {
        top
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for top in imports(node)
    }
    found, ours = packages_distributions(), {*ROOMS, *sys.stdlib_module_names}
    for top in imported - ours:
        names = {one.lower().replace("_", "-") for one in found.get(top, [])}
        brought = {BRINGS.get(name, name) for name in names}
        assert brought & direct, f"{top}: no dependency brings it"


def imports(node: ast.AST) -> set[str]:
    """The first names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        return {node.module.partition(".")[0]}
    return set()


def test_the_installed_command_works_without_a_checkout(installed: Path) -> None:
    billing = installed / "billing"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert ran(billing, "--version").strip() == version
    page = ran(billing, "--help", COLUMNS="80").splitlines()
    assert len(page) <= 24
    assert max(map(len, page)) <= 80
    asked = ran(billing, "explain", "run-7f3a", code=2)
    assert "\n  export DATABASE_URL=postgresql://" in asked
    away = {"DATABASE_URL": "postgresql://127.0.0.1:1/billing"}
    assert "Check DATABASE_URL" in ran(billing, "explain", "run-7f3a", code=1, **away)
    where = ran(installed / "python", "-c", "import operator_cli; print(operator_cli.__file__)")
    assert where.startswith(str(installed.parent))
    reads = (
        "from ledger.migration import migrations; from ledger.queries import query; "
        "from schemas.topics import load_topics; "
        "print(*migrations(), load_topics('').callbacks.name, len(query('find_revision')) > 0)"
    )
    revisions = [path.name[:4] for path in sorted((ROOT / "ledger/migrations/sql").glob("*.sql"))]
    said = ran(installed / "python", "-c", reads)
    assert said.split() == [*revisions, "billing.callbacks.v1", "True"]
    nowhere = {"DATABASE_URL": "postgresql://127.0.0.1:1/billing"}
    assert "127.0.0.1" in ran(billing, "migrate", "--check", code=1, **nowhere)
    assert "DATABASE_URL must be set" in ran(billing, "report", code=2)


def test_the_installed_command_passes_on_to_the_gateways_spool(
    installed: Path, tmp_path: Path
) -> None:
    said = ran(installed / "billing", "spool", "list", "--json", "--dir", tmp_path)
    assert json.loads(said) == []
    assert "Usage: billing spool [OPTIONS]" in ran(installed / "billing", "spool", "--help")


def test_the_client_is_in_the_wheel_without_what_makes_a_wheel_of_it_alone(
    wheel: Path, installed: Path
) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(f"{CLIENT}/")}
    files = {path.name for path in (ROOT / CLIENT).iterdir() if path.suffix in {".py", ".typed"}}
    assert names == {f"{CLIENT}/{file}" for file in files}
    assert ran(installed / "python", "-c", USE).strip().endswith(f"{CLIENT}/__init__.py 1")


def test_the_client_alone_is_installed_into_an_empty_environment_without_an_index(
    wheel: Path, installed: Path, tmp_path: Path
) -> None:
    alone = built(ROOT / CLIENT, tmp_path / "wheel")
    ours = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(f"{CLIENT}/")}
    theirs = zipfile.ZipFile(alone).namelist()
    assert {name for name in theirs if ".dist-info/" not in name} == ours
    venv.create(tmp_path / "empty")
    python = tmp_path / "empty" / "bin" / "python"
    # Another environment's pip: to put one into this takes seconds.
    pip: list[str | Path] = [installed / "pip", "--python", python, "--disable-pip-version-check"]
    # Whatever it depended on could not be found: there is no index.
    ran(*pip, "install", "--quiet", "--no-index", alone)
    listed = json.loads(ran(*pip, "list", "--format", "json"))
    assert [row["name"].replace("_", "-") for row in listed] == ["billing-stream-client"]
    where = ran(python, "-c", USE)
    assert where.startswith(str(tmp_path / "empty"))
    assert where.strip().endswith("__init__.py 1")


READS = """
import json
from decimal import Decimal
from importlib.resources import files

from billing_stream_schemas import events

home = files("billing_stream_schemas")
receipt: events.Receipt = json.loads((home / "examples" / "receipt.json").read_text())
event: events.CreditEvent = json.loads((home / "examples" / "credit-event.json").read_text())
unit: events.UsageUnit = json.loads((home / "examples" / "usage-unit.json").read_text())
headers: dict[str, str] = json.loads((home / "examples" / "receipt-headers.json").read_text())
charged: Decimal = Decimal(receipt["charged_usd"])
team: str | None = receipt.get("team_id")
schema = json.loads((home / "json" / "receipt.schema.json").read_text())
assert set(receipt) <= set(schema["properties"]) == set(events.Receipt.__annotations__)
assert headers["ce_type"] == events.RECEIPT_CREATED
channels = json.loads((home / "asyncapi.json").read_text())["channels"].values()
assert {events.RECEIPTS, events.CREDIT_EVENTS} <= {one["address"] for one in channels}
print(charged > 0, team, event["balance"], unit["run_id"])
"""


def test_the_schemas_alone_are_installed_into_an_empty_environment_and_have_types(
    installed: Path, tmp_path: Path
) -> None:
    alone = built(ROOT / "schemas", tmp_path / "wheel")
    names = {name for name in zipfile.ZipFile(alone).namelist() if ".dist-info/" not in name}
    data = {
        *(ROOT / "schemas").glob("*.json"),
        *(ROOT / "schemas" / "json").iterdir(),
        *(ROOT / "schemas" / "openapi").iterdir(),
        *(ROOT / "schemas" / "examples").glob("*.json"),
        *(ROOT / "schemas" / name for name in ("__init__.py", "events.py", "py.typed")),
        ROOT / "schemas" / "topics.yaml",
    }
    paths = {path.relative_to(ROOT / "schemas") for path in data}
    assert names == {f"billing_stream_schemas/{path}" for path in paths}
    venv.create(tmp_path / "empty")
    python = tmp_path / "empty" / "bin" / "python"
    pip: list[str | Path] = [installed / "pip", "--python", python, "--disable-pip-version-check"]
    ran(*pip, "install", "--quiet", "--no-index", alone)
    reads = tmp_path / "reads.py"
    reads.write_text(READS)
    assert ran(python, reads).startswith("True ")
    checks: list[str | Path] = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-executable",
        python,
    ]
    checks += ["--cache-dir", tmp_path / "cache", reads]
    assert "Success" in ran(*checks)
    reads.write_text(READS.replace('Decimal(receipt["charged_usd"])', 'receipt["charged_usd"]'))
    assert 'expression has type "str"' in ran(*checks, code=1)
