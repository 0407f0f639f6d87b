"""Debits: what a batch's new receipts take from the credits of their accounts, and of their holds.

In the receipts' own transaction, and last in it: rows of accounts are what other members and the
spend guard wait for. Holds are taken first, then accounts, each in one order, as everybody does who
takes both. The receipts are the sub-ledger: one entry for each account and batch, the sum of its
receipts (docs/decisions/0027).
"""

import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from psycopg import Cursor

from charging.balances import ANYTHING, Balance, NewEvent, fallen
from charging.outcomes import Charge, Decided, Skipped
from ledger.credit_events import tell
from ledger.queries import listed, query

_RANDOM_BITS: Final = 20
Unknown = Literal["open", "refuse"]


@dataclass(frozen=True, slots=True)
class CreditTerms:
    """How receipts are debited.

    `unknown` says how an account begins that nobody has opened, `failed_hold_seconds` how long the
    hold of a call that is not charged is kept, for the fallback of a failed one that may follow.
    Where less than one of the `thresholds` is left, credits, other teams are told.
    """

    unknown: Unknown = "open"
    failed_hold_seconds: int = 120
    thresholds: tuple[int, ...] = ()


class Debit(msgspec.Struct, frozen=True, gc=False):
    """What a batch moves of an account, in credits: charged by `receipts`, freed of holds."""

    billing_account_id: str
    charged: int = 0
    receipts: int = 0
    freed: int = 0


class Captured(msgspec.Struct, frozen=True, gc=False):
    """A hold whose call has its receipt."""

    hold: str
    charge_receipt_id: str
    charged: int


def new_batch() -> int:
    """Return the number of a batch: later ones are greater, and no two alike but by rare chance.

    Where two are, PostgreSQL refuses the second entry of an account, and the batch gets another.
    """
    return (time.time_ns() // 1_000_000 << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)


def captured(charges: Iterable[Charge]) -> list[Captured]:
    """Return the holds of new receipts, each once: a request's second receipt has none left."""
    found: dict[str, Captured] = {}
    for charge in charges:
        if charge.hold is not None:
            receipt = charge.receipt
            one = Captured(charge.hold, str(receipt.id), receipt.charged_credits)
            found.setdefault(charge.hold, one)
    return list(found.values())


def unused(batch: Iterable[Decided]) -> list[str]:
    """Return the holds of calls of a batch that have failed, or cost nothing by rule."""
    decisions = (one.decision for one in batch)
    holds = (one.hold for one in decisions if isinstance(one, Skipped) and one.hold is not None)
    return list(dict.fromkeys(holds))


def debits(charges: Iterable[Charge], freed: Collection[tuple[str, int]]) -> list[Debit]:
    """Return what is moved, by account, in the order in which accounts are taken.

    `charges` are those of newly written receipts alone. `freed` are accounts and amounts of holds
    that end. The order is that of the database's collation `C`.
    """
    sums: dict[str, list[int]] = {}
    for charge in charges:
        receipt = charge.receipt
        if receipt.charged_credits:
            one = sums.setdefault(receipt.billing_account_id, [0, 0, 0])
            one[0] += receipt.charged_credits
            one[1] += 1
    for account, amount in freed:
        sums.setdefault(account, [0, 0, 0])[2] += amount
    return [Debit(account, *sums[account]) for account in sorted(sums)]


def debit(
    cursor: Cursor[Any],
    charges: Sequence[Charge],
    left: Sequence[str],
    batch: int,
    terms: CreditTerms,
) -> None:
    """Capture the holds of new receipts, shorten the `left` ones, and debit the accounts.

    `left` are the holds of calls that are not charged.

    Raises `psycopg.errors.UniqueViolation` where another batch has this number, and
    `NumericValueOutOfRange` where an account's balance would be no number of 64 bits.
    """
    freed: list[tuple[str, int]] = []
    taken = captured(charges)
    if taken and left:
        holds = [*(one.hold for one in taken), *left]
        cursor.execute(query("lock_ending_holds"), {"holds": listed(holds)})
    if taken:
        freed = cursor.execute(query("capture_holds"), {"captured": listed(taken)}).fetchall()
    if left:
        seconds = terms.failed_hold_seconds
        cursor.execute(query("shorten_holds"), {"holds": listed(left), "seconds": seconds})
    if moved := debits(charges, freed):
        asked = {
            "moved": listed(moved),
            "prepaid": terms.unknown == "refuse",
            "batch": batch,
            "levels": [ANYTHING, *terms.thresholds],
        }
        cursor.execute(query("open_unknown"), asked)
        found = cursor.execute(query("debit_accounts"), asked).fetchall()
        tell(cursor, [event for row in found for event in _fallen(row, terms.thresholds)])


def _fallen(row: Sequence[Any], thresholds: Collection[int]) -> list[NewEvent]:
    *account, charged = row
    now = Balance(*account)
    return fallen(now.balance + (now.limit or 0) + charged, now, thresholds)
