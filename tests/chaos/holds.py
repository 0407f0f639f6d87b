"""Asks for holds, what is due to become of them, and what came of them instead."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import psycopg

from tests.chaos.books import Call

ENDED: Final = frozenset({"captured", "released", "expired"})
_HOLDS: Final = """
SELECT hold.billing_account_id, hold.litellm_call_id, hold.id::text, hold.state, hold.captured,
    receipt.response_id, receipt.charged_credits
FROM billing.credit_holds AS hold
LEFT JOIN billing.charge_receipts AS receipt ON receipt.id = hold.charge_receipt_id
WHERE hold.billing_account_id = ANY(%s)
"""
_HELD: Final = "SELECT billing_account_id, held FROM billing.credit_accounts WHERE held <> 0"
_LEAST: Final = """
SELECT min(balance), sum(amount) FILTER (WHERE reason = 'grant') FROM billing.credit_entries
WHERE billing_account_id = %s
"""


class Plan(StrEnum):
    """What becomes of a call behind its ask."""

    MADE = "made"
    FAILED = "failed"
    FALLBACK = "failed, and made by another model"
    NEVER = "never made"
    FORGOTTEN = "forgotten"


ENDS: Final = {
    Plan.MADE: frozenset({"captured"}),
    Plan.FAILED: frozenset({"expired"}),
    # Whatever is slow on the way, the second callback may come too late for the hold.
    Plan.FALLBACK: frozenset({"captured", "expired"}),
    Plan.NEVER: frozenset({"released"}),
    Plan.FORGOTTEN: frozenset({"expired"}),
}
"""How the hold of a call must end, where every answer came."""


@dataclass
class Asked:
    """An ask, and what is known of its hold.

    `seconds` is its life, None for the guard's own; `may` how it may end; `unsettled` that its
    sender does not know whether there is a hold, or whether it was told of the end.
    """

    account: str
    call: Call
    amount: int
    plan: Plan
    seconds: int | None
    may: frozenset[str]
    hold: str | None = None
    unsettled: bool = False

    def body(self) -> dict[str, Any]:
        """The ask; its key is that of the call, so that it is the same when it is sent again."""
        lives = {} if self.seconds is None else {"expires_in_seconds": self.seconds}
        return {
            "account": self.account,
            "litellm_call_id": self.call.call_id,
            "nonce": "n",
            "amount_credits": self.amount,
            "run_id": self.call.run_id,
            **lives,
        }

    def doubt(self) -> None:
        """Note that an answer is missing, so that the hold may end in any way."""
        self.unsettled, self.may = True, ENDED


class Promises:
    """What an account was promised and charged, at the least, as it is seen from outside.

    A hold counts from its answer until its client lets go of it, and what a call costs counts from
    then on. The guard holds it before that and frees it after. So what is `broken` was promised
    beyond `given` for certain. Without `given`, nothing is.
    """

    def __init__(self, given: int | None) -> None:
        self._given = given
        self._lock = threading.Lock()
        self._promised = 0
        self._until: list[tuple[float, int]] = []
        self.broken: list[str] = []

    def add(self, amount: int, until: datetime | None = None) -> None:
        """Count a hold that was answered; one that nobody ends counts until its time is over."""
        with self._lock:
            now = time.time()
            self._promised += amount
            if until is not None:
                self._until.append((until.timestamp(), amount))
            self._promised -= sum(amount for end, amount in self._until if end <= now)
            self._until = [one for one in self._until if one[0] > now]
            if self._given is not None and self._promised > self._given:
                self.broken.append(f"{self._promised} credits promised of {self._given}")

    def take_back(self, amount: int) -> None:
        """Count so much no more."""
        with self._lock:
            self._promised -= amount


class HoldRow(NamedTuple):
    """A hold as the tables have it, with its receipt where it has one."""

    account: str
    call_id: str
    hold: str
    state: str
    captured: int | None
    response_id: str | None
    charged: int | None


def misheld(asked: Iterable[Asked], rows: Sequence[HoldRow]) -> list[str]:
    """What of holds is not as it is due by their asks."""
    due = {(one.account, one.call.call_id): one for one in asked}
    there = {row.hold for row in rows}
    found = [
        f"the hold of {one.call.call_id} is gone"
        for one in due.values()
        if one.hold is not None and one.hold not in there
    ]
    for row in rows:
        one = due.get((row.account, row.call_id))
        if one is None or (one.hold or row.hold) != row.hold:
            found.append(f"nobody was given the hold {row.hold} of {row.call_id}")
        elif row.state not in one.may:
            found.append(f"the hold of {row.call_id} ({one.plan}) is {row.state}")
        elif row.state == "captured" and (
            row.response_id != one.call.response_id or row.captured != row.charged
        ):
            found.append(f"{row.call_id} has captured {row.captured} for {row.response_id}")
    times = Counter(row.response_id for row in rows if row.response_id is not None)
    found += [f"{name} has captured {many} holds" for name, many in times.items() if many > 1]
    return found


def misheld_in(
    connection: psycopg.Connection[Any], asked: Sequence[Asked], accounts: Sequence[str]
) -> list[str]:
    """What of these accounts' holds is not as it is due."""
    rows = connection.execute(_HOLDS, [list(accounts)]).fetchall()
    return misheld(asked, [HoldRow(*row) for row in rows])


def held(connection: psycopg.Connection[Any]) -> list[str]:
    """Which accounts have anything held."""
    rows = connection.execute(_HELD).fetchall()
    return [f"{amount} credits of {name} are held" for name, amount in rows]


def misspent(connection: psycopg.Connection[Any], account: str, given: int) -> list[str]:
    """Whether a prepaid account was ever below zero, or was given something else than `given`."""
    [(least, granted)] = connection.execute(_LEAST, [account]).fetchall()
    below = [f"{account} had {least} credits"] if least is None or least < 0 else []
    return below + ([f"{account} was given {granted}"] if granted != given else [])
