"""The papers for whoever carries it on: what they name is there, what they run is what CI runs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.waiting import NET_SECONDS

ROOT: Final = Path(__file__).parents[2]
TEMPLATES: Final = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
GUIDE: Final = (ROOT / "CONTRIBUTING.md").read_text()
NAMED: Final = re.compile(r"`((?:[\w.-]+/)*[\w.-]+(?:/|\.(?:py|sql|md|yml|yaml|json|toml|lock)))`")
TARGET: Final = re.compile(r"^lint:.*\n((?:\t.+\n)+)", re.MULTILINE)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_an_issue_form_is_one_that_the_site_takes(template: Path) -> None:
    schema = "issue-config" if template.name == "config.yml" else "issue-forms"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            f"vendor.github-{schema}",
            str(template),
        ],
        capture_output=True,
        text=True,
        timeout=NET_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_run_what_lint_runs_and_fetch_nothing() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert not any(hook["pass_filenames"] for hook in hooks)
    target = TARGET.search((ROOT / "Makefile").read_text())
    assert target is not None
    wanted = [line.strip().rpartition("$(RUN) ")[2] for line in target[1].splitlines()]
    assert [hook["entry"].removeprefix(".venv/bin/") for hook in hooks] == wanted


def test_every_file_and_target_that_the_guide_names_is_there() -> None:
    named = {path for path in NAMED.findall(GUIDE) if "NNNN" not in path}
    assert len(named) > 30, "the guide is not read as it is written"
    beside = (
        *("", "tests/unit", "tests/repository", "charts/billing-stream", "deploy/prometheus"),
        *("schemas/examples/callbacks", "consumer", "producer_gateway"),
    )
    missing = {path for path in named if not any((ROOT / at / path).exists() for at in beside)}
    assert not missing
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", GUIDE)) <= targets


def test_every_file_that_the_page_of_the_tests_names_is_there() -> None:
    named = set(NAMED.findall((ROOT / "tests" / "README.md").read_text()))
    assert len(named) > 20, "the page is not read as it is written"
    assert not {
        path for path in named if not any((ROOT / at / path).exists() for at in ("", "tests"))
    }


def test_the_guide_draws_the_floors_of_the_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [set(layer.split(" | ")) for layer in settings["contracts"][0]["layers"]]
    picture = GUIDE.partition("```text\n")[2].partition("```")[0]
    drawn = {
        int(number): line for number, line in re.findall(r"^(\d)  (.+)$", picture, re.MULTILINE)
    }
    assert len(drawn) == len(layers)
    for floor, rooms in zip(sorted(drawn, reverse=True), layers, strict=True):
        assert rooms <= set(drawn[floor].split()), f"floor {floor}"
