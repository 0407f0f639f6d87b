"""Accounts of credits and their movements, as they are shown and asked for. Whole credits."""

from datetime import datetime
from typing import Final, Literal, TypeAlias

import msgspec

from charging.holds import Kind

MOST: Final = 4 * 10**18
"""Largest amount, limit and balance: a balance and a limit together still fit a bigint."""

Reason: TypeAlias = Literal["grant", "refund", "write_off", "correction"]
"""Of a movement that a person makes; other reasons are of receipts and payments."""


class CreditError(Exception):
    """What was asked for is refused; the text says why, and nothing was changed."""


class UnknownAccountError(CreditError):
    """Nobody has opened the account."""


class ReferenceTakenError(CreditError):
    """The reference stands for another movement already."""


class AmountError(CreditError):
    """The amount or the limit is none that can be posted or set."""


class Account(msgspec.Struct, frozen=True):
    """Who may spend how much. `limit` is how far below zero; None is without end."""

    billing_account_id: str
    kind: Kind
    balance: int
    held: int
    limit: int | None
    opened_at: datetime

    @property
    def available(self) -> int | None:
        """What may still be held; None is without end."""
        return None if self.limit is None else self.balance - self.held + self.limit


class Entry(msgspec.Struct, frozen=True):
    """A movement of credits, signed; `balance` is the account's behind it."""

    id: int
    billing_account_id: str
    reason: str
    reference: str
    amount: int
    balance: int
    batch: int | None
    receipts: int | None
    person: str | None
    note: str | None
    created_at: datetime


class Limit(msgspec.Struct, frozen=True):
    """How an account pays, as a person says it. `limit` is None without end, and of a prepaid one.

    Raises `AmountError` where the limit is none of its kind.
    """

    billing_account_id: str
    kind: Kind
    limit: int | None
    person: str
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse what no account can have."""
        if self.kind == "prepaid" and self.limit:
            raise AmountError("a prepaid account has no limit: it never goes below zero")
        if self.limit is not None and not 0 <= self.limit <= MOST:
            raise AmountError(f"a limit is from 0 to {MOST} credits, not {self.limit}")


class SaidLimit(msgspec.Struct, frozen=True):
    """A limit that somebody has set, and when."""

    id: int
    billing_account_id: str
    kind: Kind
    limit: int | None
    person: str
    note: str
    created_at: datetime


class Movement(msgspec.Struct, frozen=True):
    """What a person moves; `reason` and `reference` together name it, whatever the account."""

    billing_account_id: str
    reason: Reason
    reference: str
    amount: int
    person: str
    note: str


class Posted(msgspec.Struct, frozen=True):
    """The entry of a movement: `created` now or earlier; `opened` says that the account is new."""

    entry: Entry
    created: bool
    opened: bool = False
