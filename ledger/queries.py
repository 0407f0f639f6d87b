"""The SQL that the ledger runs, by the names of its files."""

from collections.abc import Collection
from functools import cache
from importlib.resources import files
from typing import LiteralString

import msgspec


@cache
def query(name: str) -> LiteralString:
    """Return the text of `sql/<name>.sql`. Raises `FileNotFoundError` for an unknown name."""
    # The files are part of the release, so their text is as trusted as a literal.
    return files("ledger").joinpath("sql", f"{name}.sql").read_text("utf-8")


def listed(values: Collection[object]) -> str:
    """Return a list as a parameter, JSON; of an array, psycopg would write each in Python."""
    return msgspec.json.encode(values).decode()
