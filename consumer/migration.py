"""Bringing the database to the schema that this release needs, with Alembic."""

from collections.abc import Sequence
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import Connection, errors

_DRIVER_SCHEME = "postgresql+psycopg://"


def _config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("consumer").joinpath("migrations")))
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = _DRIVER_SCHEME + database_url.split("://", 1)[1]
    return config


def migrate(database_url: str) -> None:
    """Apply what is pending, in one transaction, one process at a time.

    Safe to run from several places at once and to run again. Raises `sqlalchemy.exc.DBAPIError`.
    """
    command.upgrade(_config(database_url), "head")


def pending(database_url: str) -> Sequence[str]:
    """Return the revisions that are not applied yet, oldest first; changes nothing.

    Raises `psycopg.OperationalError` where the database cannot be reached.
    """
    scripts = ScriptDirectory.from_config(_config(database_url))
    known = [script.revision for script in scripts.walk_revisions()][::-1]
    with Connection.connect(database_url) as connection:
        try:
            row = connection.execute("SELECT version_num FROM billing.schema_migrations").fetchone()
        except (errors.UndefinedTable, errors.InvalidSchemaName):
            return known
    return known[known.index(row[0]) + 1 :] if row and row[0] in known else known
