"""The rows of a statement, with the names that it gives them also where it finds none."""

from psycopg import Cursor
from psycopg.rows import DictRow

from runtime.rows import Listing


def listing_of(cursor: Cursor[DictRow]) -> Listing:
    """Return what the statement of `cursor` has found. Raises `LedgerError`."""
    return Listing([column.name for column in cursor.description or ()], cursor.fetchall())
