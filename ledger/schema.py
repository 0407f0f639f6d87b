"""The schema as it is after all migrations: writes `schema.sql`, which is for reading.

`DATABASE_URL=... python -m ledger.schema` on a migrated database; a test holds the file equal to
the migrations. Databases are made by `billing migrate`, never from it.
"""

import sys
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Final

from ledger.address import connect
from ledger.healing import LedgerError, advice
from ledger.queries import query
from ledger.settings import LedgerConnection
from runtime.environment import ConfigurationError, read

HEADER: Final = """\
-- The whole schema as it is after all migrations, for reading: `python -m ledger.schema` writes it
-- from a migrated database, and a test holds it equal. Databases are made by
-- `billing migrate`.
-- The roles billing_consumer, billing_guard, billing_reader and billing_reconciler belong to the
-- server.
"""
"""How the file begins."""


def described(database_url: str) -> str:
    """Return the schema of a database as SQL. Raises `LedgerError`."""
    with connect(database_url, "billing-schema") as connection:
        # Names are written with their schema when no schema is searched.
        connection.execute("SET LOCAL search_path = pg_catalog")
        rows = connection.execute(query("describe_schema")).fetchall()
    paragraphs = [
        "".join(f"{statement};\n" for *_, statement in statements)
        for _, statements in groupby(rows, lambda row: row[:2])
    ]
    return "\n".join([HEADER, *paragraphs])


def main() -> int:
    """Write `schema.sql` beside this file."""
    try:
        settings = read(LedgerConnection, "LEDGER_")
        text = described(settings.database_url.get_secret_value())
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's output
        return 2
    except LedgerError as error:
        print(advice(error), file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    path = Path(str(files("ledger").joinpath("schema.sql")))
    path.write_text(text, "utf-8")
    print(f"wrote {path}")  # noqa: T201 - a command's output
    return 0


if __name__ == "__main__":
    sys.exit(main())
