"""Which versions of LiteLLM are tried, and that the pages name them."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.processes.proxies import PINS, SAMPLE, pinned_versions

ROOT = Path(__file__).parents[2]


def locked_version() -> str:
    """The version that `make demo` runs."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    (requirement,) = groups["litellm"]
    return str(requirement).removeprefix("litellm[proxy]==")


@pytest.mark.parametrize("version", pinned_versions())
def test_the_pins_of_a_version_are_exact_and_its_own(version: str) -> None:
    lines = (PINS / f"{version}.txt").read_text().splitlines()
    packages = [line.partition(" ;")[0] for line in lines if not line.startswith("#")]
    assert f"litellm=={version}" in packages
    assert all(re.fullmatch(r"[a-z0-9-]+(\[[a-z,]+\])?==[\w.]+", line) for line in packages)


def test_the_page_names_every_version_that_is_tried_and_the_sample_the_locked_one() -> None:
    page = (ROOT / "docs" / "litellm.md").read_text()
    named = re.findall(r"^\| (\d+\.\d+\.\d+) \|", page, re.MULTILINE)
    assert named == [locked_version(), *reversed(pinned_versions())]
    checked = "Checked against LiteLLM (.+)\\."
    assert re.findall(checked, (SAMPLE / "config.yaml").read_text()) == [locked_version()]


def test_the_overrides_are_those_of_the_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = (PINS / "overrides.txt").read_text().splitlines()
    assert lines[1:] == project["tool"]["uv"]["override-dependencies"]
