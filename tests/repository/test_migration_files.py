"""The files of migrations, as they are found in the order of their names."""

import re
from importlib.resources import files
from typing import Any

import pytest

from ledger.migration import migrations, stepwise
from ledger.steps import run

AGAIN = r"IF (NOT )?EXISTS|VALIDATE CONSTRAINT|^CREATE OR REPLACE VIEW|^GRANT|^COMMENT ON"
"""What may be run again."""


def test_revisions_are_counted_without_a_gap() -> None:
    """Two branches that both add the next one are seen here, when they have come together."""
    revisions = sorted(
        file.name.partition("_")[0] for file in files("ledger").joinpath("migrations/sql").iterdir()
    )
    assert revisions == [f"{number:04}" for number in range(1, len(revisions) + 1)]
    assert list(migrations()) == revisions


def test_each_says_first_what_it_is_for() -> None:
    assert [revision for revision, sql in migrations().items() if not sql.startswith("--")] == []


@pytest.mark.parametrize("revision", sorted(stepwise()))
def test_each_step_may_be_taken_again(revision: str) -> None:
    """An interrupted migration begins anew, and an index that is made locks no writer out."""
    nowhere: Any = None
    names = [step.name for step in run(nowhere, migrations()[revision])]
    assert len(names) == len(re.findall(r";$", migrations()[revision], re.MULTILINE))
    for name in names:
        assert re.search(AGAIN, name), name
        assert "INDEX" not in name or "CONCURRENTLY" in name, name
