"""What is generated from the code is committed as it would be generated now."""

from pathlib import Path

import pytest

from docs.generate import ROOT, documents

DOCUMENTS = documents()


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_the_committed_file_is_current(path: Path) -> None:
    assert (ROOT / path).read_text("utf-8") == DOCUMENTS[path], "run `make schemas`"
