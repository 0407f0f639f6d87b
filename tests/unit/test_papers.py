"""The papers for whoever carries it on: what they name is there, what they run is what CI runs."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.services.waiting import NET_SECONDS

ROOT: Final = Path(__file__).parents[2]
TEMPLATES: Final = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
TARGET: Final = re.compile(r"^lint:.*\n((?:\t.+\n)+)", re.MULTILINE)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_an_issue_form_is_one_that_the_site_takes(template: Path) -> None:
    schema = "issue-config" if template.name == "config.yml" else "issue-forms"
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.github-{schema}",
         str(template)],
        capture_output=True, text=True, timeout=NET_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_run_what_lint_runs_and_fetch_nothing() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert not any(hook["pass_filenames"] for hook in hooks)
    target = TARGET.search((ROOT / "Makefile").read_text())
    assert target is not None
    wanted = [line.strip().removeprefix("@$(RUN) ") for line in target[1].splitlines()]
    assert [hook["entry"].removeprefix(".venv/bin/") for hook in hooks] == wanted
