"""Deferred calls that do not say yet which receipt would be theirs, told by `migrate`.

Releases before migration 0010 do not write `receipt_id`; the id is a UUID of version 5, which
PostgreSQL does not make. Until it is there, such a call counts as one without a receipt: where its
receipt came through another partition in the same moment, it is shown as open.
"""

from typing import Any, Final

from psycopg import Connection

from ledger.queries import query
from schemas.receipt import receipt_id

_BATCH: Final = 1_000


def identify(connection: Connection[tuple[Any, ...]]) -> int:
    """Write the id into every deferral that has none, in small transactions; return how many.

    `connection` commits each statement by itself. Resumable, and harmless beside members that
    write; they are not waited for. Raises `psycopg.Error`, a deadlock with a member among it.
    """
    after, identified = 0, 0
    while True:
        asked = {"after": after, "limit": _BATCH}
        found = connection.execute(query("find_unidentified"), asked).fetchall()
        if not found:
            return identified
        numbers = [number for number, _, _ in found]
        ids = [receipt_id(source, key) for _, source, key in found]
        given = {"numbers": numbers, "ids": ids}
        identified += connection.execute(query("identify_deferred"), given).rowcount
        after = numbers[-1]
