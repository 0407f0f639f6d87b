"""The files of migrations, as they are found in the order of their names."""

from importlib.resources import files

from ledger.migration import migrations


def test_revisions_are_counted_without_a_gap() -> None:
    """Two branches that both add the next one are seen here, when they have come together."""
    revisions = sorted(
        file.name.partition("_")[0] for file in files("ledger").joinpath("migrations/sql").iterdir()
    )
    assert revisions == [f"{number:04}" for number in range(1, len(revisions) + 1)]
    assert list(migrations()) == revisions


def test_each_says_first_what_it_is_for() -> None:
    assert [revision for revision, sql in migrations().items() if not sql.startswith("--")] == []
