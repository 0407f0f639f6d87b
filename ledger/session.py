"""A connection that is made when it is used first, and anew behind a failure that heals."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection, Cursor, Error

from ledger.address import connect
from ledger.healing import heals, kept_waiting


class Session:
    """What asks the ledger over one connection, in transactions. Not safe for threads.

    Everything raises `LedgerError`; after one that heals the next use connects anew.
    """

    def __init__(self, database_url: str, application: str) -> None:
        self._url = database_url
        self._application = application
        self._connection: Connection[tuple[Any, ...]] | None = None

    def _connected(self) -> Connection[tuple[Any, ...]]:
        """Return the connection, outside any transaction."""
        if self._connection is None:
            self._connection = connect(self._url, self._application, autocommit=True)
        return self._connection

    @contextmanager
    def _opened(self) -> Iterator[Cursor[Any]]:
        """Open a transaction, as the user of the URL.

        Not in psycopg's pipeline mode: behind PgBouncer a pipeline was seen to wait for ever.
        """
        connection = self._connected()
        try:
            with connection.transaction(), connection.cursor() as cursor:
                yield cursor
        except Error as error:
            if heals(error) and not kept_waiting(error):
                self.close()
            raise

    def close(self) -> None:
        """Drop the connection; the next use makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
