"""What the reconciler asks the books and remembers in them: cursor, known calls, findings.

It writes its own two tables alone; receipts are the consumer's (ONE_LEDGER_WRITER). Nothing
outlives a transaction.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
from psycopg import Cursor, sql
from psycopg.rows import dict_row

from ledger.counted_receipts import CountedReceipt
from ledger.queries import listed, query
from ledger.session import Session
from schemas.receipt import receipt_id

_MOST_OF_ONE_NAME: Final = 20_000
"""Calls that are looked at which share ids with others: clients choose call ids."""
_LONGEST_CALL: Final = timedelta(milliseconds=2**31 - 1)
"""A receipt says no longer one."""


class KnownCall(msgspec.Struct, frozen=True, gc=False):
    """A receipt or a deferral, which has no `receipt`.

    `cost` is the receipt's response cost, `by_hand` says that a person has set it, `contradicted`
    that a callback says otherwise, `awaits_cost` that it is open, and any cost is an answer.
    `written_at` is when the row was written.
    """

    receipt: UUID | None
    source_system: str
    call_key: str
    litellm_call_id: str | None
    response_id: str
    cost: Decimal | None
    cost_source: str | None
    run_id: str
    occurred_at: datetime
    written_at: datetime
    contradicted: bool
    awaits_cost: bool = False


class Finding(msgspec.Struct, frozen=True, gc=False):
    """A row of the spend log that the books have no answer to."""

    request_id: str
    litellm_call_id: str | None
    call_key: str | None
    verdict: str
    reason: str | None
    spend_usd: str | None
    receipt_cost_usd: str | None
    started_at: datetime | None
    end_user: str | None


class State(msgspec.Struct, frozen=True):
    """What was done about a finding."""

    reposted_at: datetime | None
    closed_at: datetime | None


class OpenFinding(msgspec.Struct, frozen=True):
    """A call that was lost, or waits for its cost, and has no receipt yet."""

    request_id: str
    call_key: str | None
    reposted_at: datetime | None
    verdict: str


class OpenCount(msgspec.Struct, frozen=True):
    """Open findings of one verdict: how many, their cost, and the age of the oldest in seconds."""

    verdict: str
    findings: int
    spend_usd: Decimal
    oldest_seconds: float


class Run(msgspec.Struct, frozen=True):
    """An attempt of a run: its receipts, when its last call ended, when the last was written."""

    receipts: int
    ended_at: datetime | None
    written_at: datetime | None


class WrittenReceipt(msgspec.Struct, frozen=True, gc=False):
    """A receipt, to be told of where no row is of it."""

    id: UUID
    call_key: str
    litellm_call_id: str | None
    response_id: str
    response_cost_usd: Decimal
    occurred_at: datetime
    billing_account_id: str
    model: str | None


class Reconciliation(Session):
    """The books as the reconciler of one source sees them. Not safe for threads.

    Everything raises `LedgerError`. After one that heals the next use connects anew.
    """

    def __init__(self, database_url: str, role: str, source: str) -> None:
        super().__init__(database_url, "billing-reconciler")
        self._role = role
        self._source = source

    @property
    def source(self) -> str:
        """The source system whose calls these are."""
        return self._source

    def cursor(self) -> datetime | None:
        """Return up to when the spend log is compared; None where it never was."""
        with self._transaction() as cursor:
            row = cursor.execute(query("find_reconciler_cursor"), self._asked()).fetchone()
        return row[0] if row else None

    def move(self, until: datetime) -> None:
        """Say that everything before `until` is compared; never takes anything back."""
        with self._transaction() as cursor:
            cursor.execute(query("move_reconciler_cursor"), self._asked(until=until))

    def known(
        self, keys: Sequence[str], calls: Sequence[str] = (), responses: Sequence[str] = ()
    ) -> list[KnownCall]:
        """Return what the books have by call keys, by clients' call ids and by response ids.

        Of this source alone. One call may be told twice.
        """
        ids = [receipt_id(self._source, key) for key in keys]
        found = self._known(ids, keys, calls, responses)
        return [one for one in found if one.source_system == self._source]

    def elsewhere(self, keys: Sequence[str]) -> list[KnownCall]:
        """Return the receipts that calls of these keys have of other sources."""
        with self._transaction() as cursor:
            sources = [name for (name,) in cursor.execute(query("explain_sources"))]
        others = [name for name in sources if name != self._source]
        ids = [receipt_id(source, key) for source in others for key in keys]
        return self._known(ids, (), (), ()) if ids else []

    def _known(
        self,
        ids: Sequence[UUID],
        keys: Sequence[str],
        calls: Sequence[str],
        responses: Sequence[str],
    ) -> list[KnownCall]:
        asked = self._asked(
            ids=listed(ids),
            keys=listed(keys),
            calls=listed(calls),
            responses=listed(responses),
            limit=_MOST_OF_ONE_NAME,
        )
        with self._transaction() as cursor:
            return [KnownCall(*row) for row in cursor.execute(query("find_known_calls"), asked)]

    def note(self, findings: Sequence[Finding]) -> Mapping[str, State]:
        """Write findings down, and return what was done about each, by request id."""
        asked = self._asked(findings=listed(findings))
        with self._transaction() as cursor:
            found = cursor.execute(query("note_findings"), asked)
            return {request: State(*state) for request, *state in found}

    def states(self, requests: Sequence[str]) -> Mapping[str, State]:
        """Return what was done about findings of these request ids, as far as there are any."""
        asked = self._asked(requests=listed(requests))
        with self._transaction() as cursor:
            found = cursor.execute(query("find_states_of_findings"), asked)
            return {request: State(*state) for request, *state in found}

    def reposted(self, requests: Sequence[str]) -> None:
        """Write down that the gateway has taken the callbacks of these rows."""
        with self._transaction() as cursor:
            cursor.execute(query("note_reposted"), self._asked(requests=listed(requests)))

    def close_findings(self, answered: Mapping[str, Decimal | None]) -> int:
        """Close findings, by request id with the cost of their receipt; return how many."""
        told = [{"request_id": one, "cost": cost} for one, cost in answered.items()]
        with self._transaction() as cursor:
            cursor.execute(query("close_findings"), self._asked(answered=listed(told)))
            return cursor.rowcount

    def open_findings(self, after: str, limit: int) -> list[OpenFinding]:
        """Return lost calls that have no receipt yet, from behind the request id `after` on."""
        with self._transaction() as cursor:
            asked = self._asked(after=after, limit=limit)
            return [OpenFinding(*row) for row in cursor.execute(query("find_open_findings"), asked)]

    def open_counts(self) -> list[OpenCount]:
        """Return how many findings are open, by verdict."""
        with self._transaction() as cursor:
            found = cursor.execute(query("count_open_findings"), self._asked())
            return [OpenCount(*row) for row in found]

    def unmatched_units(
        self,
        limit: int,
        *,
        start: datetime | None = None,
        until: datetime | None = None,
        run: tuple[str, int] | None = None,
    ) -> list[dict[str, Any]]:
        """Return usage units whose call has neither a receipt nor a deferral, the oldest first.

        Those that ended from `start` on and before `until`, or those of an attempt of a run.
        """
        name, attempt = run or (None, None)
        asked = {"start": start, "until": until, "run": name, "attempt": attempt, "limit": limit}
        with (
            self._transaction() as cursor,
            cursor.connection.cursor(row_factory=dict_row) as reader,
        ):
            return reader.execute(query("find_unmatched_units"), asked).fetchall()

    def run(self, name: str, attempt: int) -> Run:
        """Return what the books have of an attempt of a run."""
        with self._transaction() as cursor:
            asked = self._asked(run=name, attempt=attempt)
            return Run(*cursor.execute(query("find_run"), asked).fetchone() or (0, None, None))

    def receipts_of(self, start: datetime, until: datetime) -> Iterator[WrittenReceipt]:
        """Yield the receipts of calls that began in a time; a part of them is held at a time."""
        asked = self._asked(start=start, until=until, longest=_LONGEST_CALL)
        with (
            self._transaction() as cursor,
            cursor.connection.cursor("receipts_of_a_time") as reader,
        ):
            for row in reader.execute(query("receipts_of_a_time"), asked):
                yield WrittenReceipt(*row)

    def counted_receipts(self, day: date) -> Iterator[CountedReceipt]:
        """Yield the receipts of calls that began on a day of UTC, with the tokens they count."""
        asked = self._asked(first=day, last=day)
        with (
            self._transaction() as cursor,
            cursor.connection.cursor("counted_receipts") as reader,
        ):
            for row in reader.execute(query("counted_receipts"), asked):
                yield CountedReceipt(*row)

    def _asked(self, **more: object) -> dict[str, object]:
        return {"source": self._source, **more}

    @contextmanager
    def _transaction(self) -> Iterator[Cursor[Any]]:
        with self._opened() as cursor:
            if self._role:
                role = sql.Identifier(self._role)
                cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
            cursor.execute(query("begin_reconciliation"))
            yield cursor
