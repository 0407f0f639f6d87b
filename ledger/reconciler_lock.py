"""The lock that makes one reconciler of a source the active one."""

from typing import Any

from psycopg import Connection, Error, OperationalError

from ledger.address import connect
from ledger.queries import query


class ReconcilerLock:
    """Makes one reconciler of a source the active one, for as long as its connection lives."""

    def __init__(self, database_url: str, source: str) -> None:
        self._url = database_url
        self._source = source
        self._connection: Connection[tuple[Any, ...]] | None = None

    def acquire(self) -> bool:
        """Say whether this process is the active one, now. Raises `LedgerError`."""
        if self._connection is not None:
            return True
        connection = connect(self._url, "billing-reconciler-lock")
        try:
            connection.execute(query("lock_reconciler"))
            asked = {"source": self._source}
            got = connection.execute(query("try_reconciler_lock"), asked).fetchone() == (True,)
        except Error:
            connection.close()
            raise
        if got:
            self._connection = connection
        else:
            connection.close()
        return got

    def check(self) -> None:
        """Raise a `LedgerError` unless this process is still the active one."""
        if self._connection is None:
            raise OperationalError("the reconciler's lock is not held")
        try:
            self._connection.execute("SELECT")
        except Error:
            self.release()
            raise

    def release(self) -> None:
        """Let another instance be the active one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
