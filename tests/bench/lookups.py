"""What a look-up by an id of strangers costs each row that is written: three kinds of index.

`python -m tests.bench.lookups`: CPU time of PostgreSQL, WAL and bytes of the index a row, for ids
that are all different, for one id that comes again and again, and for runs. No broker is needed.
"""

import secrets
from collections.abc import Callable
from typing import Annotated, Final, LiteralString
from uuid import uuid4

import typer

from tests.bench.index_cost import Line, medians, servers, tell

_RUNS: Final = 1_000
_INDEXES: Final[dict[str, LiteralString]] = {
    "none": "SELECT",
    "B-tree of the ids": "CREATE INDEX ON {} (name)",
    "hash index": "CREATE INDEX ON {} USING hash (name)",
    "B-tree of their hashes": "CREATE INDEX ON {} (hashtextextended(name, 0))",
}
_OF_RUNS: Final[dict[str, LiteralString]] = {
    "none": "SELECT",
    "B-tree": "CREATE INDEX ON {} (name)",
    'B-tree, COLLATE "C"': 'CREATE INDEX ON {} (name COLLATE "C")',
    "B-tree of their hashes": "CREATE INDEX ON {} (hashtextextended(name, 0))",
}


Names = Callable[[int], str]


def different(_: int) -> str:
    """An id as providers make them."""
    return f"chatcmpl-{secrets.token_hex(15)}"


def repeated(_: int) -> str:
    """One id that a client has chosen for all its calls."""
    return "00000000-0000-4000-8000-000000000000"


def runs(number: int) -> str:
    """The run of a call: a thousand of them share the calls."""
    return f"run-{number % _RUNS:04x}"


def line_of(names: Names) -> Line:
    """Rows of a key and such a name."""
    return lambda number: f"{uuid4()}\t{names(number)}\n"


def main(
    count: Annotated[int, typer.Argument(min=10_000, help="Rows in each table.")] = 200_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 3,
) -> None:
    """Print the medians, what the table costs without the index taken off."""
    cases: dict[str, tuple[Names, dict[str, LiteralString]]] = {
        "ids, all different": (different, _INDEXES),
        f"one id, {count:,} times": (repeated, _INDEXES),
        f"{_RUNS:,} runs": (runs, _OF_RUNS),
    }
    with servers() as urls:
        for collation, url in urls.items():
            for case, (names, indexes) in cases.items():
                costs = medians(
                    url,
                    "name text NOT NULL",
                    indexes,
                    line_of(names),
                    count=count,
                    rounds=rounds,
                )
                tell(f"{case}, collation {collation}", costs)


if __name__ == "__main__":
    typer.run(main)
