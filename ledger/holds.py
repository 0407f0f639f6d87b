"""Holds in the books: placed in batches, released, expired, forgotten.

Locks are taken in one order by everybody: rows of holds that are there, then rows of accounts in
the order of their names, then new rows. What is decided is decided while the accounts are locked.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, LiteralString, TypeAlias
from uuid import UUID

import msgspec
from msgspec.structs import replace
from psycopg import ClientCursor, Cursor, errors

from charging.holds import Account, HoldState, may_become
from ledger.admission import Answer, Ask, Decided, HoldRow
from ledger.queries import listed, query
from ledger.runs import accounts_of_runs
from ledger.session import Session

Unknown: TypeAlias = Literal["open", "refuse"]
APPLICATION: Final = "billing-spend-guard"
LOCK_MS: Final = 50
"""How long a lock is waited for, milliseconds: others wait behind whoever waits here."""
_SKIPPING: Final[LiteralString] = f"{query('lock_accounts')} SKIP LOCKED"
_FIND: Final[LiteralString] = f"{query('find_holds')};\n{query('read_clock')}"
_BEGIN: Final[LiteralString] = f"BEGIN;\n{query('begin_quickly')}"
_BEGIN_PLACING: Final[LiteralString] = f"{_BEGIN};\n{query('lock_accounts')};\n{_FIND}"
_BEGIN_SKIPPING: Final[LiteralString] = (
    f"ROLLBACK;\n{_BEGIN};\n{query('find_accounts')};\n{_SKIPPING};\n{_FIND}"
)
_END_PLACING: Final[LiteralString] = f"{query('place_holds')};\nCOMMIT"


class Figures(msgspec.Struct, frozen=True):
    """Open holds, the age of the oldest in seconds, and accounts below what their limit allows."""

    open: int
    oldest_seconds: float
    accounts_below_limit: int


class Holds(Session):
    """The books of holds, over one connection. Not safe for threads.

    A lock is waited for `lock_ms` milliseconds. Everything raises `LedgerError`. After one that
    heals the next use connects anew, and whatever it was may be done again: what is done already
    stays as it is.
    """

    def __init__(self, database_url: str, role: str, lock_ms: int = LOCK_MS) -> None:
        super().__init__(database_url, APPLICATION)
        self._terms = {"role": role or "none", "lock_timeout": f"{lock_ms}ms"}

    def place(
        self, asks: Sequence[Ask], unknown: Unknown, locked: Collection[str] = ()
    ) -> list[Answer]:
        """Answer asks, the earlier ones first, all in one transaction.

        An account that another transaction has is waited for a moment, and then the others are
        answered. For those in `locked` nothing is tried.
        """
        paid = self._paid(asks) if any(ask.of_run for ask in asks) else asks
        tried = [ask for ask in paid if ask.account not in locked]
        found = iter(self._answered(tried, unknown) if tried else ())
        answers = [_locked(ask) if ask.account in locked else next(found) for ask in paid]
        return [
            replace(answer, account=ask.account) if ask.account != asked.account else answer
            for asked, ask, answer in zip(asks, paid, answers, strict=True)
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
        if not missing or unknown == "refuse":
            return [one or _unknown(ask) for ask, one in zip(asks, answers, strict=True)]
        try:
            # In a transaction of its own, which waits for no row while it has another.
            with self._transaction() as cursor:
                cursor.execute(query("open_accounts"), {"accounts": listed(missing)})
        except errors.LockNotAvailable:
            # Whoever opens one of them has not committed yet.
            return [one or _locked(ask) for ask, one in zip(asks, answers, strict=True)]
        rest = [ask for ask, one in zip(asks, answers, strict=True) if not one]
        found = iter(self._placed(rest))
        answers = [one or next(found) for one in answers]
        return [one or _unknown(ask) for ask, one in zip(asks, answers, strict=True)]

    def _placed(self, asks: Sequence[Ask]) -> list[Answer | None]:
        """Answer asks, each with None whose account is not there.

        In two messages, each of several statements: others wait for these accounts meanwhile. A
        statement sees what was committed before it, also by those whose locks were waited for.
        """
        asked = {
            **self._terms,
            "accounts": listed({ask.account for ask in asks}),
            "asks": listed(asks),
        }
        try:
            cursor = ClientCursor(self._connected())
            found, accounts, holds, [[clock]] = _begun(cursor, asked)
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
        others = {name for (name,) in found} - locked.keys()
        return [
            _locked(ask) if ask.account in others else one
            for ask, one in zip(asks, decided.answers, strict=True)
        ]

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
            cursor.execute(query("lock_accounts"), _of_accounts([found]))
            cursor.execute(query("end_holds"), _ended([found], HoldState.RELEASED))
        return replace(found, state=HoldState.RELEASED.value)

    def expire(self, limit: int) -> int:
        """End holds whose time is over, at most so many; return how many it were.

        Those stay for the next time whose account another transaction has.
        """
        with self._transaction() as cursor:
            rows = cursor.execute(query("lock_overdue_holds"), {"limit": limit})
            overdue = [HoldRow(*row) for row in rows]
            locked = {name for name, *_ in cursor.execute(_SKIPPING, _of_accounts(overdue))}
            ending = [hold for hold in overdue if hold.account in locked]
            if ending:
                cursor.execute(query("end_holds"), _ended(ending, HoldState.EXPIRED))
                cursor.execute(query("tell_expired_holds"), _ended(ending, HoldState.EXPIRED))
        return len(ending)

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
            cursor.execute(query("begin_quickly"), self._terms)
            yield cursor


def _begun(cursor: ClientCursor[Any], asked: Mapping[str, object]) -> list[list[Any]]:
    """Lock the accounts of asks; return names of those that are there, rows, holds and the time.

    Without names all that are there are locked. With them, another transaction has one, and those
    are left out that could not be had at once.
    """
    try:
        cursor.execute(_BEGIN_PLACING, asked)
    except errors.LockNotAvailable:
        cursor.execute(_BEGIN_SKIPPING, asked)
        return [one.fetchall() if one.description else [] for one in cursor.results()][-4:]
    return [[], *[one.fetchall() if one.description else [] for one in cursor.results()][-3:]]


def _locked(ask: Ask) -> Answer:
    return Answer("locked", ask.amount, 0, None)


def _unknown(ask: Ask) -> Answer:
    return Answer("unknown", ask.amount, 0, None)


def _of_accounts(holds: Sequence[HoldRow]) -> Mapping[str, object]:
    return {"accounts": listed({hold.account for hold in holds})}


def _ended(holds: Sequence[HoldRow], state: HoldState) -> Mapping[str, object]:
    """Say which holds end, whose rows are locked and which are held, and whose accounts are."""
    return {"holds": listed([hold.id for hold in holds]), "state": state.value}
