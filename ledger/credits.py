"""Credits as a person sees and moves them: accounts, entries, holds, grants, limits, the audit.

Receipts are debited where they are written, never here. All amounts are whole credits.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, LiteralString

from psycopg import Cursor, errors, sql

from charging.balances import ENDLESS, Balance, fallen, moved
from ledger.accounts import (
    MOST,
    Account,
    AmountError,
    Entry,
    Limit,
    Movement,
    Posted,
    ReferenceTakenError,
    SaidLimit,
    UnknownAccountError,
)
from ledger.credit_audit import Imbalance, Undebited, imbalances, undebited
from ledger.credit_events import tell
from ledger.hold_listing import HoldRow, Place, listed_holds
from ledger.queries import listed, query
from ledger.session import Session
from schemas.text import identifier, storable


class Credits(Session):
    """The accounts of credits and what people do to them. Not safe for threads.

    An empty `role` is the user of the URL. `thresholds` are credits: other teams are told when less
    is left of an account. Everything raises `LedgerError`; after one that heals the next use
    connects anew.
    """

    def __init__(
        self, database_url: str, role: str, application: str, thresholds: Sequence[int] = ()
    ) -> None:
        super().__init__(database_url, application)
        self._role = role
        self._thresholds = thresholds

    def account(self, name: str) -> Account | None:
        """Return an account; None where nobody has opened it."""
        with self._transaction() as cursor:
            return _account(cursor, "find_credit_account", account=identifier(name))

    def accounts(self, after: str, limit: int) -> list[Account]:
        """Return accounts in the order of their names, from behind `after` on."""
        with self._transaction() as cursor:
            asked = {"after": storable(after), "limit": limit}
            return [Account(*row) for row in cursor.execute(query("list_credit_accounts"), asked)]

    def entries(self, name: str, before: int | None, limit: int) -> list[Entry]:
        """Return the entries of an account, the newest first, from below the id `before` on."""
        asked = {"account": identifier(name), "before": before, "limit": limit}
        with self._transaction() as cursor:
            return [Entry(*row) for row in cursor.execute(query("list_credit_entries"), asked)]

    def holds(
        self, name: str | None, state: str | None, before: Place | None, limit: int
    ) -> list[HoldRow]:
        """Return holds, the newest first: of an account and in a state, where they are named.

        `before` is the `created_at` and `id` of the last one of the page before.
        """
        with self._transaction() as cursor:
            account = None if name is None else identifier(name)
            return listed_holds(cursor, account, state, before, limit)

    def post(self, movement: Movement, unknown: Literal["open", "refuse"]) -> Posted:
        """Move credits once, however often it is asked for with one reason and reference.

        Args:
            movement: a grant, a refund and a write-off add credits; a correction does either.
            unknown: whether a grant opens an account that is unknown, prepaid. Nothing else does:
                there is nothing to refund or to correct in an account without an entry.

        Raises:
            ReferenceTakenError: the reference stands for another account or amount.
            UnknownAccountError: the account is unknown, and is not opened.
            AmountError: the amount has the wrong sign, or the balance would be out of range.
        """
        _check(movement)
        asked: dict[str, Any] = {
            "account": identifier(movement.billing_account_id),
            "reason": movement.reason,
            "reference": identifier(movement.reference),
            "amount": movement.amount,
            "person": storable(movement.person),
            "note": storable(movement.note),
        }
        if earlier := self._earlier(asked):
            return earlier
        opens = unknown == "open" and movement.reason == "grant"
        try:
            with self._transaction() as cursor:
                posted = entered(cursor, asked, opens=opens)
                entry = posted.entry
                now = balance_of(cursor, entry.billing_account_id)
                tell(cursor, moved(entry.amount, entry.reason, now, self._thresholds))
                return posted
        except errors.UniqueViolation:
            # Another session was faster with the reference, and has committed.
            if earlier := self._earlier(asked):
                return earlier
            raise
        except errors.NumericValueOutOfRange as error:
            raise AmountError(_too_much(asked["account"])) from error

    def open_account(self, said: Limit) -> Account | None:
        """Open an account without credits; return None where it is open already."""
        asked = _limited(said)
        with self._transaction() as cursor:
            opened = _account(cursor, "open_credit_account", **asked)
            if opened is not None:
                cursor.execute(query("note_credit_limit"), asked)
            return opened

    def set_limit(self, said: Limit) -> Account:
        """Change how an account pays. Its holds and balance stand, below the new limit too.

        Raises `UnknownAccountError`.
        """
        asked = _limited(said)
        names = {"accounts": listed([asked["account"]])}
        with self._transaction() as cursor:
            row = cursor.execute(query("lock_accounts"), names).fetchone()
            if row is None:
                raise UnknownAccountError(_unknown(said.billing_account_id))
            before = Balance(*row)
            left = ENDLESS if before.limit is None else before.balance + before.limit
            [changed] = cursor.execute(query("limit_credit_account"), asked).fetchall()
            cursor.execute(query("note_credit_limit"), asked)
            account = Account(*changed)
            tell(cursor, fallen(left, _balance(account), self._thresholds))
            return account

    def limits(self, name: str | None, before: int | None, limit: int) -> list[SaidLimit]:
        """Return who has set limits, the newest first: of an account, where it is named.

        From below the id `before` on.
        """
        account = None if name is None else identifier(name)
        asked = {"account": account, "before": before, "limit": limit}
        with self._transaction() as cursor:
            return [SaidLimit(*row) for row in cursor.execute(query("list_credit_limits"), asked)]

    def audit(self) -> list[Imbalance]:
        """Return what does not add up, all of it at one moment of the ledger."""
        with self._transaction("begin_credit_audit") as cursor:
            return imbalances(cursor)

    def undebited(self) -> Undebited:
        """Return the receipts that belong to no debit. That is no fault."""
        with self._transaction("begin_credit_audit") as cursor:
            return undebited(cursor)

    def _earlier(self, asked: dict[str, Any]) -> Posted | None:
        with self._transaction() as cursor:
            row = cursor.execute(query("find_credit_entry"), asked).fetchone()
        if row is None:
            return None
        entry = Entry(*row)
        if (entry.billing_account_id, entry.amount) != (asked["account"], asked["amount"]):
            raise ReferenceTakenError(_taken(entry))
        return Posted(entry, created=False)

    @contextmanager
    def _transaction(self, beginning: LiteralString = "begin_credits") -> Iterator[Cursor[Any]]:
        with self._opened() as cursor:
            cursor.execute(query(beginning))
            if self._role:
                role = sql.Identifier(self._role)
                cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
            yield cursor


def _limited(said: Limit) -> dict[str, Any]:
    return {
        "account": identifier(said.billing_account_id),
        "kind": said.kind,
        "limit": 0 if said.kind == "prepaid" else said.limit,
        "person": storable(said.person),
        "note": storable(said.note),
    }


def _balance(one: Account) -> Balance:
    return Balance(one.billing_account_id, one.kind, one.balance, one.held, one.limit)


def _check(movement: Movement) -> None:
    if movement.reason != "correction" and movement.amount < 0:
        raise AmountError(f"a {movement.reason} adds credits: {movement.amount} takes them")
    if not movement.amount or abs(movement.amount) > MOST:
        raise AmountError(f"an amount is from 1 to {MOST} credits, not {movement.amount}")


def entered(cursor: Cursor[Any], asked: dict[str, Any], *, opens: bool = False) -> Posted:
    """Post in the transaction of `cursor`, which ends with it where this raises.

    `asked` are the account, reason, reference, amount, person and note of the entry. Raises
    `UnknownAccountError`, unless it `opens` the account, and `AmountError`.
    """
    opened = False
    row = cursor.execute(query("post_credit_entry"), asked).fetchone()
    if row is None and opens:
        # None comes back where another session has opened it since.
        prepaid = {"account": asked["account"], "kind": "prepaid", "limit": 0}
        opened = cursor.execute(query("open_credit_account"), prepaid).fetchone() is not None
        row = cursor.execute(query("post_credit_entry"), asked).fetchone()
    if row is None:
        raise UnknownAccountError(_unknown(asked["account"]))
    entry = Entry(*row)
    if abs(entry.balance) > MOST:
        raise AmountError(_too_much(entry.billing_account_id))
    return Posted(entry, created=True, opened=opened)


def balance_of(cursor: Cursor[Any], name: str) -> Balance:
    """Return an account as it stands in the transaction of `cursor`.

    Raises `UnknownAccountError`.
    """
    account = _account(cursor, "find_credit_account", account=name)
    if account is None:
        raise UnknownAccountError(_unknown(name))
    return _balance(account)


def _account(cursor: Cursor[Any], name: str, **asked: object) -> Account | None:
    row = cursor.execute(query(name), asked).fetchone()
    return Account(*row) if row else None


def _taken(entry: Entry) -> str:
    return (
        f"reference {entry.reference!r} stands for a {entry.reason} of {entry.amount} credits "
        f"to {entry.billing_account_id!r} already, of {entry.created_at}"
    )


def _unknown(name: str) -> str:
    return f"no account {name!r}: a grant opens one, and so does `billing credit limit`"


def _too_much(name: str) -> str:
    return f"the balance of {name!r} would be over {MOST} credits, or as far below zero"
