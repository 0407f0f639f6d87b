"""Books of holds in memory: what `ledger.holds.Holds` answers, without a database."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from threading import Event
from uuid import UUID

import msgspec
from psycopg import OperationalError

from charging.holds import Account
from ledger.admission import Answer, Ask, Decided, HoldRow, Key
from ledger.holds import Unknown


class HoldsInMemory:
    """Accounts and holds in dictionaries. `batches` are the asks that came together.

    While `away` is true everything fails as without a server; while `gate` is not set, what is
    asked waits. `locked` are accounts that another transaction has.
    """

    def __init__(self, **balances: int) -> None:
        self.accounts = {
            name: Account("prepaid", balance, 0, 0) for name, balance in balances.items()
        }
        self.holds = dict[Key, HoldRow]()
        self.batches = list[list[Ask]]()
        self.locked = set[str]()
        self.away = False
        self.failures = 0
        self.gate = Event()
        self.gate.set()
        self.reached = Event()
        self.closed = False

    def place(
        self, asks: Sequence[Ask], unknown: Unknown, locked: Collection[str] = ()
    ) -> list[Answer]:
        """Answer asks."""
        self._answers()
        kept = self.locked | set(locked)
        found = iter(self._placed([ask for ask in asks if ask.account not in kept], unknown))
        return [
            Answer("locked", ask.amount, 0, None) if ask.account in kept else next(found)
            for ask in asks
        ]

    def _placed(self, asks: Sequence[Ask], unknown: Unknown) -> list[Answer]:
        self.batches.append(list(asks))
        if unknown == "open":
            for ask in asks:
                self.accounts.setdefault(ask.account, Account("postpaid", 0, 0, None))
        decided = Decided(asks, self.accounts, self.holds, datetime.now(UTC))
        for placed in decided.placed:
            ask = placed.ask
            self._more_held(ask.account, ask.amount)
            self.holds[ask.key] = HoldRow(
                placed.id, ask.account, ask.amount, "held", placed.expires_at
            )
        return [
            one or Answer("unknown", ask.amount, 0, None)
            for ask, one in zip(asks, decided.answers, strict=True)
        ]

    def release(self, hold: UUID) -> HoldRow | None:
        """Release a hold."""
        self._answers()
        for key, found in self.holds.items():
            if found.id == hold:
                if found.state == "held":
                    self._more_held(found.account, -found.amount)
                    self.holds[key] = msgspec.structs.replace(found, state="released")
                return self.holds[key]
        return None

    def close(self) -> None:
        """Note that nobody asks any more."""
        self.closed = True

    def _answers(self) -> None:
        self.reached.set()
        self.gate.wait()
        if self.away or self.failures:
            self.failures = max(0, self.failures - 1)
            raise OperationalError("nobody listens")

    def _more_held(self, name: str, amount: int) -> None:
        one = self.accounts[name]
        self.accounts[name] = Account(one.kind, one.balance, one.held + amount, one.limit)
