"""Holds in the books: placed in batches, released, expired, forgotten.

Locks are taken in one order by everybody: rows of holds that are there, then rows of accounts in
the order of their names, then new rows. What is decided is decided while the accounts are locked.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec.structs import replace
from psycopg import ClientCursor, Cursor

from charging.holds import Account, HoldState, may_become
from ledger.admission import Answer, Ask, Decided, HoldRow
from ledger.queries import listed, query
from ledger.runs import accounts_of_runs
from ledger.session import Session

Unknown: TypeAlias = Literal["open", "refuse"]
APPLICATION: Final = "billing-spend-guard"
_BEGIN_PLACING: Final = ";\n".join(
    ("BEGIN", *map(query, ("begin_quickly", "lock_accounts", "find_holds", "read_clock")))
)
_END_PLACING: Final = ";\n".join((query("place_holds"), "COMMIT"))


class Figures(msgspec.Struct, frozen=True):
    """Open holds, the age of the oldest in seconds, and accounts below what their limit allows."""

    open: int
    oldest_seconds: float
    accounts_below_limit: int


class Holds(Session):
    """The books of holds, over one connection. Not safe for threads.

    Everything raises `LedgerError`. After one that heals the next use connects anew, and whatever
    it was may be done again: what is done already stays as it is.
    """

    def __init__(self, database_url: str, role: str) -> None:
        super().__init__(database_url, APPLICATION)
        self._role = role

    def place(self, asks: Sequence[Ask], unknown: Unknown) -> list[Answer]:
        """Answer asks, the earlier ones first, all in one transaction."""
        paid = self._paid(asks) if any(ask.of_run for ask in asks) else asks
        return [
            replace(answer, account=ask.account) if ask.account != asked.account else answer
            for asked, ask, answer in zip(asks, paid, self._answered(paid, unknown), strict=True)
        ]

    def _paid(self, asks: Sequence[Ask]) -> list[Ask]:
        """Return the asks with the accounts that executors have named for their runs."""
        runs = [
            (ask.run_id, ask.attempt or 0) if ask.of_run and ask.run_id else None for ask in asks
        ]
        with self._transaction() as cursor:
            accounts = accounts_of_runs(cursor, {run for run in runs if run})
        return [
            replace(ask, account=accounts.get(run, ask.account)) if run else ask
            for ask, run in zip(asks, runs, strict=True)
        ]

    def _answered(self, asks: Sequence[Ask], unknown: Unknown) -> list[Answer]:
        answers = self._placed(asks)
        missing = sorted({ask.account for ask, one in zip(asks, answers, strict=True) if not one})
        if missing and unknown == "open":
            # In a transaction of its own, which waits for no row while it has another.
            with self._transaction() as cursor:
                cursor.execute(query("open_accounts"), {"accounts": listed(missing)})
            rest = [ask for ask, one in zip(asks, answers, strict=True) if not one]
            found = iter(self._placed(rest))
            answers = [one or next(found) for one in answers]
        return [
            one or Answer("unknown", ask.amount, 0, None)
            for ask, one in zip(asks, answers, strict=True)
        ]

    def _placed(self, asks: Sequence[Ask]) -> list[Answer | None]:
        """Answer asks, each with None whose account is not there.

        In two messages, each of several statements: others wait for these accounts meanwhile. A
        statement sees what was committed before it, also by those whose locks were waited for.
        """
        asked = {
            "role": self._role or "none",
            "accounts": listed({ask.account for ask in asks}),
            "asks": listed(asks),
        }
        try:
            cursor = ClientCursor(self._connected())
            cursor.execute(_BEGIN_PLACING, asked)
            *_, accounts, holds, [[clock]] = [
                one.fetchall() if one.description else [] for one in cursor.results()
            ]
            locked = {name: Account(*row) for name, *row in accounts}
            known = {(row[1], *row[5:]): HoldRow(*row[:5]) for row in holds}
            decided = Decided(asks, locked, known, clock)
            if decided.placed:
                cursor.execute(_END_PLACING, {"holds": listed(decided.placed)})
            else:
                cursor.execute("COMMIT")
        except BaseException:
            # Whatever it was: nobody may find a transaction under way.
            self.close()
            raise
        return decided.answers

    def release(self, hold: UUID) -> HoldRow | None:
        """Free what a call did not need; return the hold as it is then, None where there is none.

        One that has ended already stays as it ended.
        """
        with self._transaction() as cursor:
            row = cursor.execute(query("lock_hold"), {"hold": hold}).fetchone()
            if row is None:
                return None
            found = HoldRow(*row)
            if not may_become(HoldState(found.state), HoldState.RELEASED):
                return found
            _end(cursor, [found], HoldState.RELEASED)
        return replace(found, state=HoldState.RELEASED.value)

    def expire(self, limit: int) -> int:
        """End holds whose time is over, at most so many; return how many it were."""
        with self._transaction() as cursor:
            rows = cursor.execute(query("lock_overdue_holds"), {"limit": limit})
            overdue = [HoldRow(*row) for row in rows]
            if overdue:
                _end(cursor, overdue, HoldState.EXPIRED)
                told = {"holds": listed([hold.id for hold in overdue])}
                cursor.execute(query("tell_expired_holds"), told)
        return len(overdue)

    def forget(self, days: int, limit: int) -> int:
        """Delete holds that have ended and are older, at most so many; return how many it were."""
        with self._transaction() as cursor:
            cursor.execute(query("forget_holds"), {"days": days, "limit": limit})
            return cursor.rowcount

    def figures(self) -> Figures:
        """Return what an operator wants to see of all holds and accounts."""
        with self._transaction() as cursor:
            row = cursor.execute(query("count_holds")).fetchone()
        return Figures(*row or (0, 0.0, 0))

    @contextmanager
    def _transaction(self) -> Iterator[Cursor[Any]]:
        """Open a transaction as our role."""
        with self._opened() as cursor:
            cursor.execute(query("begin_quickly"), {"role": self._role or "none"})
            yield cursor


def _end(cursor: Cursor[Any], holds: Sequence[HoldRow], state: HoldState) -> None:
    """End holds whose rows are locked and which are held, and free their credits."""
    accounts = listed({hold.account for hold in holds})
    cursor.execute(query("lock_accounts"), {"accounts": accounts})
    ids = listed([hold.id for hold in holds])
    cursor.execute(query("end_holds"), {"holds": ids, "state": state.value})
