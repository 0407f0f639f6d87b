"""Bringing the database to the schema that this release needs, with Alembic."""

import logging
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from typing import Any, Final

import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import Connection, errors
from sqlalchemy.exc import DBAPIError

from ledger.address import connect

log = structlog.get_logger("ledger")
# What Alembic tells of each step, the command says in one line.
logging.getLogger("alembic").setLevel(logging.WARNING)

_ATTEMPTS: Final = 10
"""How often a migration may meet a deadlock. PostgreSQL takes a second to find each."""


class NewerSchemaError(Exception):
    """The database has a revision that this release does not know."""


class DatabaseError(Exception):
    """A migration failed; the text is the database's."""


def _config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("ledger").joinpath("migrations")))
    config.set_main_option("path_separator", "os")
    # The driver reads the URL, not SQLAlchemy, which knows no list of hosts.
    config.attributes["connect"] = partial(_connect, database_url)
    return config


def _connect(database_url: str) -> Connection[tuple[Any, ...]]:
    return connect(database_url, "billing-migrate")


def migrate(database_url: str) -> None:
    """Apply what is pending, in one transaction, one process at a time.

    Safe to run from several places at once, to run again, and beside consumers that write: they
    take the tables in another order than migrations do, so that a deadlock may undo all of it, and
    then it is tried again. Raises `DatabaseError` and `psycopg.Error`.
    """
    # Its lines are for who writes migrations; whoever applies them is told which were applied.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _upgrade(database_url)
        except errors.DeadlockDetected:
            if attempt == _ATTEMPTS:
                raise
            log.warning("the migration met a deadlock and is tried again", attempt=attempt)
        else:
            return


def _upgrade(database_url: str) -> None:
    try:
        command.upgrade(_config(database_url), "head")
    except DBAPIError as error:
        # What Alembic itself asked; a migration's own statements go past SQLAlchemy.
        if isinstance(error.orig, errors.DeadlockDetected):
            raise error.orig from error
        raise DatabaseError(str(error.orig)) from error


def pending(database_url: str) -> Sequence[str]:
    """Return the revisions that are not applied yet, oldest first; changes nothing.

    Raises `psycopg.OperationalError` where the database cannot be reached, and `NewerSchemaError`.
    """
    scripts = ScriptDirectory.from_config(_config(database_url))
    known = [script.revision for script in scripts.walk_revisions()][::-1]
    with _connect(database_url) as connection:
        try:
            row = connection.execute("SELECT version_num FROM billing.schema_migrations").fetchone()
        except (errors.UndefinedTable, errors.InvalidSchemaName):
            return known
    if row is None:
        return known
    if row[0] not in known:
        raise NewerSchemaError(f"the schema is at {row[0]}, this release knows it to {known[-1]}")
    return known[known.index(row[0]) + 1 :]
