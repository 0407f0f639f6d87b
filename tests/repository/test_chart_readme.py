"""The chart's README has every value as it is; helm-docs writes it (the template says how)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

CHART: Final = Path(__file__).parents[2] / "charts" / "billing-stream"
ROW: Final = re.compile(r"^\| (\S+) \| \w+ \| `(.*?)` \| (.*?) ?\|$", re.MULTILINE)
SAID: Final = re.compile(r"^ *# -- (.*\n(?: *# (?!--).*\n)*)", re.MULTILINE)
AGAIN: Final = "write it again: charts/billing-stream/README.md.gotmpl says how"
VALUES: Final[dict[str, Any]] = yaml.safe_load((CHART / "values.yaml").read_text())
README: Final = (CHART / "README.md").read_text()
ROWS: Final = {key: (default, said) for key, default, said in ROW.findall(README)}


def leaves(values: dict[str, Any], before: str = "") -> Iterator[str]:
    """The path of each value that is no object with members."""
    for name, value in values.items():
        path = f"{before}{name}"
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}.")
        else:
            yield path


def value_of(path: str) -> Any:  # noqa: ANN401 - YAML
    """The default of a value."""
    found: Any = VALUES
    for name in path.split("."):
        found = found[name]
    return found


@pytest.mark.parametrize("path", ROWS)
def test_a_row_has_the_default_of_its_value(path: str) -> None:
    default, _ = ROWS[path]
    assert json.loads(default) == value_of(path), AGAIN


def test_every_value_is_in_a_row_or_in_that_of_what_it_is_part_of() -> None:
    parts = {path: path.split(".") for path in leaves(VALUES)}
    missing = [
        path
        for path, names in parts.items()
        if not any(".".join(names[:count]) in ROWS for count in range(1, len(names) + 1))
    ]
    assert missing == [], AGAIN


def test_what_is_said_of_a_value_is_in_the_readme() -> None:
    comments = SAID.findall((CHART / "values.yaml").read_text())
    said = [" ".join(re.sub(r"^ *# ", "", line) for line in one.splitlines()) for one in comments]
    assert len(said) > 50
    shown = {text.replace("\\|", "|") for _, text in ROWS.values()}
    assert [text for text in said if text not in shown] == [], AGAIN
