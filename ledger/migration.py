"""Bringing the database to the schema that this release needs.

A migration is a file of SQL, `migrations/sql/<revision>_<name>.sql`; the order of the names is the
order in which they are applied. The table `billing.schema_migrations` holds the last revision, as
Alembic writes it, which earlier releases use.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final, LiteralString

import structlog
from psycopg import Connection, errors

from ledger.address import connect
from ledger.queries import query

log = structlog.get_logger("ledger")

_ATTEMPTS: Final = 10
"""How often a migration may meet a deadlock. PostgreSQL takes a second to find each."""


class NewerSchemaError(Exception):
    """The database has a revision that this release does not know."""


def migrations() -> dict[str, LiteralString]:
    """Return the SQL of each migration by its revision, in the order in which they are applied."""
    found = files("ledger").joinpath("migrations", "sql").iterdir()
    ordered = sorted((file for file in found if file.name.endswith(".sql")), key=lambda f: f.name)
    # They are part of the release, so their text is as trusted as a literal.
    return {file.name.partition("_")[0]: file.read_text("utf-8") for file in ordered}


def migrate(database_url: str) -> Sequence[str]:
    """Apply what is pending, in one transaction, one process at a time; return the revisions.

    None of them where another process was quicker. Safe to run from several places at once, to run
    again, and beside consumers that write: they take the tables in another order than migrations
    do, so that a deadlock may undo all of it, and then it is tried again. Raises `NewerSchemaError`
    and `psycopg.Error`; then nothing has changed.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return _upgrade(database_url)
        except errors.DeadlockDetected:
            log.warning("the migration met a deadlock and is tried again", attempt=attempt)
    return _upgrade(database_url)


def pending(database_url: str) -> Sequence[str]:
    """Return the revisions that are not applied yet, oldest first; changes nothing.

    Raises `psycopg.Error`, where the database cannot be reached for instance, and
    `NewerSchemaError`.
    """
    with _connect(database_url) as connection:
        try:
            return _missing(connection, list(migrations()))
        except (errors.UndefinedTable, errors.InvalidSchemaName):
            return list(migrations())


def _connect(database_url: str) -> Connection[tuple[Any, ...]]:
    return connect(database_url, "billing-migrate")


def _upgrade(database_url: str) -> Sequence[str]:
    known = migrations()
    with _connect(database_url) as connection:
        connection.execute(query("lock_migrations"))
        connection.execute(query("create_schema_migrations"))
        missing = _missing(connection, list(known))
        for revision in missing:
            connection.execute(known[revision])
        if missing:
            connection.execute(query("move_revision"), {"revision": missing[-1]})
    return missing


def _missing(connection: Connection[tuple[Any, ...]], known: Sequence[str]) -> Sequence[str]:
    row = connection.execute(query("find_revision")).fetchone()
    if row is None:
        return known
    if row[0] not in known:
        raise NewerSchemaError(f"the schema is at {row[0]}, this release ends at {known[-1]}")
    return known[known.index(row[0]) + 1 :]
