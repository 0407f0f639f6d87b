"""One version, wherever it stands; the changelog begins with it."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

import yaml

from runtime import VERSION

ROOT: Final = Path(__file__).parents[2]
RELEASE: Final = re.compile(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)


def toml(name: str) -> dict[str, Any]:
    """A file of the root, parsed."""
    return tomllib.loads((ROOT / name).read_text())


def test_the_version_is_the_same_wherever_it_stands() -> None:
    chart = yaml.safe_load((ROOT / "charts/billing-stream/Chart.yaml").read_text())
    document = json.loads((ROOT / "schemas/openapi/gateway.json").read_text())
    topics = json.loads((ROOT / "schemas/asyncapi.json").read_text())
    [locked] = [one for one in toml("uv.lock")["package"] if one["name"] == "billing-stream"]
    found = {
        "pyproject.toml": toml("pyproject.toml")["project"]["version"],
        "uv.lock": locked["version"],
        "wheel of the client": toml("billing_stream_client/pyproject.toml")["project"]["version"],
        "wheel of the schemas": toml("schemas/pyproject.toml")["project"]["version"],
        "version of the chart": chart["version"],
        "appVersion of the chart": chart["appVersion"],
        "gateway.json": document["info"]["version"],
        "asyncapi.json": topics["info"]["version"],
        "newest release of CHANGELOG.md": RELEASE.findall((ROOT / "CHANGELOG.md").read_text())[0][
            0
        ],
    }
    assert set(found.values()) == {VERSION}, found


def test_pages_name_the_image_of_this_version() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    tags = {
        tag for page in pages for tag in re.findall(r"billing-stream:(\d\S*)", page.read_text())
    }
    assert tags == {VERSION}


def test_what_is_not_released_stands_first_and_every_release_says_how_to_upgrade() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    dates = [date for _, date in RELEASE.findall(text)]
    assert len(dates) == len(headings) - 1, "a release is `## VERSION - DATE`"
    assert dates == sorted(dates, reverse=True)
    for release in re.split(r"^## ", text, flags=re.MULTILINE)[2:]:
        assert "\n### Upgrading\n" in release, release.splitlines()[0]


def test_this_version_gets_fixes() -> None:
    page = (ROOT / "SECURITY.md").read_text()
    assert re.findall(r"^\| ([\d.]+) \| yes \|$", page, re.MULTILINE) == [
        ".".join(VERSION.split(".")[:2])
    ]
