"""What the reconciler has found, as a person looks at it and closes it. Raises `LedgerError`."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from psycopg.rows import class_row, dict_row

from ledger.address import connect
from ledger.listing import listing_of
from ledger.queries import query
from runtime.rows import Listing

_MOST_NAMED: Final = 10


class FindingVerdict(StrEnum):
    """What a row of the log was found to be: docs/reconciler.md."""

    MISSING = "missing"
    PRICED = "priced"
    DIFFERS = "differs"
    UNIDENTIFIED = "unidentified"
    ELSEWHERE = "elsewhere"
    UNREADABLE = "unreadable"


class FindingError(Exception):
    """The finding cannot be closed so; the text says what to do."""


@dataclass(frozen=True, slots=True)
class NamedFinding:
    """A row of the spend log that the books had no answer to, as far as closing it needs it."""

    source_system: str
    request_id: str
    verdict: str
    closed_at: datetime | None


class Findings:
    """The reconciler's findings of all sources.

    Args:
        database_url: of the ledger.
    """

    def __init__(self, database_url: str) -> None:
        self._connection = connect(database_url, "billing-operator", autocommit=True)

    def close(self) -> None:
        """Drop the connection."""
        self._connection.close()

    def listed(self, verdicts: Collection[FindingVerdict], *, closed: bool, limit: int) -> Listing:
        """Return the oldest findings, by the names of what is shown.

        Of these verdicts, or of all where none is named; of those that are `closed` as well.
        """
        cursor = self._connection.cursor(row_factory=dict_row)
        asked = {"verdicts": sorted(verdicts) or None, "closed": closed, "limit": limit}
        return listing_of(cursor.execute(query("list_findings"), asked))

    def find(self, name: str, source: str = "") -> NamedFinding:
        """Return the one open finding that `name` means: its row, its call id or its call key.

        Args:
            name: as `list` shows it.
            source: of this source system alone, where it is named.

        Raises:
            FindingError: there is none, there are several, or it is closed already.
        """
        asked = {"name": name, "source": source, "limit": _MOST_NAMED}
        with self._connection.cursor(row_factory=class_row(NamedFinding)) as cursor:
            found = cursor.execute(query("find_finding"), asked).fetchall()
        if not found:
            raise FindingError(f"no finding {name!r}; see `findings list`")
        still_open = [one for one in found if one.closed_at is None]
        if not still_open:
            raise FindingError(f"{name!r} is already closed")
        if len(still_open) > 1:
            rows = ", ".join(f"{one.request_id} of {one.source_system}" for one in still_open)
            raise FindingError(f"{name!r} means several findings; give row and --source: {rows}")
        return still_open[0]

    def close_by_hand(self, finding: NamedFinding, by: str, note: str) -> None:
        """Close a finding. Raises `FindingError` when someone, or the books, were faster."""
        named = {"source": finding.source_system, "request": finding.request_id}
        given = {**named, "by": by, "note": note}
        if not self._connection.execute(query("close_finding"), given).rowcount:
            raise FindingError(f"{finding.request_id} was closed in the meantime")
