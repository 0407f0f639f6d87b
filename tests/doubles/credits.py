"""Books of accounts and entries in memory: what `ledger.credits.Credits` answers."""

from datetime import UTC, datetime
from typing import Literal

from ledger.accounts import (
    Account,
    AmountError,
    Entry,
    Movement,
    Posted,
    ReferenceTakenError,
    UnknownAccountError,
)


class CreditsInMemory:
    """Accounts and entries in dictionaries."""

    def __init__(self) -> None:
        self.accounts = dict[str, Account]()
        self.posted = dict[str, Entry]()

    def account(self, name: str) -> Account | None:
        """Return an account."""
        return self.accounts.get(name)

    def entries(self, name: str, before: int | None, limit: int) -> list[Entry]:
        """Return entries of an account, the newest first."""
        own = [one for one in self.posted.values() if one.billing_account_id == name]
        return [one for one in reversed(own) if before is None or one.id < before][:limit]

    def post(self, movement: Movement, unknown: Literal["open", "refuse"]) -> Posted:
        """Move credits."""
        name, now = movement.billing_account_id, datetime.now(UTC)
        if earlier := self.posted.get(movement.reference):
            if earlier.amount != movement.amount:
                raise ReferenceTakenError("taken")
            return Posted(earlier, created=False)
        if movement.amount < 0:
            raise AmountError("adds")
        if name not in self.accounts and (unknown == "refuse" or movement.reason != "grant"):
            raise UnknownAccountError("nobody")
        before = self.accounts.get(name)
        balance = (before.balance if before else 0) + movement.amount
        self.accounts[name] = Account(name, "prepaid", balance, 0, 0, now)
        number = len(self.posted) + 1
        entry = Entry(
            number, name, movement.reason, movement.reference, movement.amount, balance,
            None, None, movement.person, movement.note, now,
        )  # fmt: skip
        self.posted[movement.reference] = entry
        return Posted(entry, created=True)

    def close(self) -> None:
        """Have nothing to close."""
