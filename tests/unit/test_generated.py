"""What is generated from the code is committed as it would be generated now."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generate import DOCUMENTS, ROOT


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_the_committed_file_is_current(path: Path) -> None:
    assert (ROOT / path).read_text("utf-8") == DOCUMENTS[path](), "run `make schemas`"


def formats(node: object) -> Iterator[str]:
    """Every format that a schema asks for."""
    if isinstance(node, dict):
        if isinstance(node.get("format"), str):
            yield node["format"]
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from formats(part)


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.suffix == ".json"], ids=str)
def test_no_schema_has_a_format_that_only_we_know(path: Path) -> None:
    """A strict validator refuses it: these two are of JSON Schema's own vocabulary."""
    assert set(formats(json.loads(DOCUMENTS[path]()))) <= {"date-time", "uuid"}
