"""Corrections of receipts: rows that point at them, entered into credits and told to other teams.

A receipt is corrected by one session at a time, which sees what the one before has made of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from psycopg import Cursor, errors, sql
from psycopg.rows import dict_row

from charging.balances import moved
from charging.corrections import Change, Charged, CorrectionError, Wish, change
from charging.money import trimmed
from ledger.accounts import MOST
from ledger.credit_events import tell
from ledger.credits import balance_of, entered
from ledger.debits import Unknown
from ledger.listing import listing_of
from ledger.queries import listed, query
from ledger.seals import digest_of, seal
from ledger.session import Session
from runtime.rows import Listing, Row
from schemas.correction import CorrectionReason, correction_id
from schemas.text import identifier, storable


class Said(msgspec.Struct, frozen=True):
    """What a person says of a receipt; `reference` names it, once for all receipts."""

    receipt: UUID
    wish: Wish
    reference: str
    person: str
    note: str = ""


class Correction(msgspec.Struct, frozen=True):
    """A correction in the books. Amounts are signed; `corrected_…` is what is charged behind it."""

    id: UUID
    receipt: UUID
    number: int
    billing_account_id: str
    reason: CorrectionReason
    amount_usd: Decimal
    amount_credits: int
    corrected_usd: Decimal
    corrected_credits: int
    reference: str
    person: str
    note: str
    created_at: datetime


class Corrected(msgspec.Struct, frozen=True):
    """A correction: `created` now or earlier."""

    correction: Correction
    created: bool


class Corrections(Session):
    """What people put right. Not safe for threads.

    An empty `role` is the user of the URL. `thresholds` are credits: other teams are told when less
    is left of an account. `unknown` says how an account begins that nobody has opened. Everything
    raises `LedgerError`; after one that heals the next use connects anew.
    """

    def __init__(
        self,
        database_url: str,
        role: str,
        thresholds: Sequence[int] = (),
        unknown: Unknown = "open",
    ) -> None:
        super().__init__(database_url, "billing-operator")
        self._role = role
        self._thresholds = thresholds
        self._unknown = unknown

    def correct(self, said: Said) -> Corrected:
        """Correct a receipt once, however often it is asked for with one reference.

        Raises `CorrectionError` where there is no such receipt, where the reference stands for
        another correction, and where the receipt cannot be corrected so.
        """
        try:
            return self._corrected(said)
        except errors.UniqueViolation:
            # Another session was faster with the reference, on another receipt, and has committed.
            return self._corrected(said)

    def _corrected(self, said: Said) -> Corrected:
        asked = {"receipt": said.receipt, "reference": identifier(said.reference)}
        try:
            with self._transaction() as cursor:
                cursor.execute(query("lock_corrections"), asked)
                if earlier := _found(cursor, asked):
                    return Corrected(_same(earlier, said), created=False)
                return Corrected(self._made(cursor, said, asked), created=True)
        except errors.NumericValueOutOfRange as error:
            raise CorrectionError(
                f"the account's balance would be over {MOST} credits, or as far below zero"
            ) from error

    def _made(self, cursor: Cursor[Any], said: Said, asked: dict[str, Any]) -> Correction:
        row = cursor.execute(query("find_charge"), asked).fetchone()
        if row is None:
            raise CorrectionError(
                f"no receipt {said.receipt}: `billing explain CALL` says which a call has"
            )
        account, debited, usd, credits_, number = row
        made = change(Charged(usd, credits_), said.wish)
        id_ = correction_id(asked["reference"])
        values = _values(said, made, number + 1)
        cursor.execute(query("insert_correction"), asked | values | {"id": id_})
        correction = _found(cursor, asked)
        if correction is None:
            raise AssertionError(f"correction {said.reference!r} was written and is not there")
        _seal(cursor, correction.id)
        cursor.execute(query("note_corrected_run"), asked)
        # What was never taken is not given back, and accounts come last: others wait for them.
        if debited and made.amount_credits:
            self._enter(cursor, correction)
        cursor.execute(query("tell_correction"), {"account": account, "id": correction.id})
        return correction

    def _enter(self, cursor: Cursor[Any], correction: Correction) -> None:
        account = correction.billing_account_id
        # A receipt that cost nothing has opened no account.
        opening = {
            "moved": listed([{"billing_account_id": account}]),
            "prepaid": self._unknown == "refuse",
        }
        cursor.execute(query("open_unknown"), opening)
        movement = {
            "account": account,
            "reason": "correction",
            "reference": str(correction.id),
            "amount": -correction.amount_credits,
            "person": correction.person,
            "note": correction.note,
        }
        entry = entered(cursor, movement).entry
        now = balance_of(cursor, account)
        tell(cursor, moved(entry.amount, entry.reason, now, self._thresholds))

    def listed(self, receipt: UUID | None, account: str | None, limit: int) -> Listing:
        """Return corrections, the newest first: of one receipt or account, where it is given."""
        name = None if account is None else identifier(account)
        return self._listing("list_corrections", receipt=receipt, account=name, limit=limit)

    def conflicts(self, limit: int) -> Sequence[Row]:
        """Return callbacks that contradict a receipt, and that nobody has decided, oldest first."""
        return self._listing("list_conflicts", limit=limit).rows

    def twins(self, first: date, limit: int) -> Sequence[Row]:
        """Return receipts that may be second ones of a call, and that nobody has decided.

        The oldest first, of calls that began on the day `first` of UTC or later.
        """
        return self._listing("list_twins", first_day=first, limit=limit).rows

    def _listing(self, name: str, **asked: object) -> Listing:
        with self._transaction() as cursor:
            connection = cursor.connection
            with connection.cursor(row_factory=dict_row) as rows:
                return listing_of(rows.execute(query(name), asked))

    @contextmanager
    def _transaction(self) -> Iterator[Cursor[Any]]:
        with self._opened() as cursor:
            cursor.execute(query("begin_credits"))
            if self._role:
                role = sql.Identifier(self._role)
                cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
            yield cursor


def _seal(cursor: Cursor[Any], correction: UUID) -> None:
    rows = cursor.execute(query("corrections_to_verify"), {"id": correction}).fetchall()
    seal(cursor, "corrections", [digest_of("corrections", values) for _, *values in rows])


def _values(said: Said, made: Change, number: int) -> dict[str, Any]:
    return {
        "number": number,
        "reason": said.wish.reason.value,
        "amount_usd": made.amount_usd,
        "amount_credits": made.amount_credits,
        "corrected_usd": made.charged.usd,
        "corrected_credits": made.charged.credits,
        "person": storable(said.person),
        "note": storable(said.note),
    }


def _found(cursor: Cursor[Any], asked: dict[str, Any]) -> Correction | None:
    row = cursor.execute(query("find_correction"), asked).fetchone()
    if row is None:
        return None
    id_, receipt, number, account, reason, *rest = row
    return Correction(id_, receipt, number, account, CorrectionReason(reason), *rest)


def _same(earlier: Correction, said: Said) -> Correction:
    """Return the correction that is there. Raises `CorrectionError` where it is another one."""
    wish = said.wish
    stands = earlier.corrected_usd if wish.amount_usd is None else earlier.amount_usd
    same = (wish.to_usd if wish.amount_usd is None else wish.amount_usd) == stands
    if same and (earlier.receipt, earlier.reason) == (said.receipt, wish.reason):
        return earlier
    raise CorrectionError(
        f"reference {earlier.reference!r} stands for a correction ({earlier.reason.value}) of "
        f"{trimmed(earlier.amount_usd)} USD of receipt {earlier.receipt} already, of "
        f"{earlier.created_at}"
    )
