"""Events of accounts, corrections, checkpoints and runs, kept here until they are published.

They are written with what they tell of.

The number of an event is given by the one process that publishes, of what it sees and without gaps,
so one number says what is published and what is not.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

import msgspec
from psycopg import Cursor

from charging.balances import NewEvent
from ledger.checkpoints import checkpoint
from ledger.queries import listed, query
from ledger.run_totals import claim, sum_up
from ledger.session import Session
from schemas.checkpoint import Checkpoint
from schemas.correction import Correction, CorrectionReason
from schemas.credits import CreditEvent, CreditEventType
from schemas.run_total import OpenCall, RunTotal

_APPLICATION: Final = "billing-credit-events"
_OF_AN_ACCOUNT: Final = slice(0, 15)
"""The columns of an event of an account, among those of all events."""
_OF_A_CORRECTION: Final = slice(15, 34)
_OF_A_CHECKPOINT: Final = slice(34, 40)
_OF_A_RUN: Final = slice(40, None)


Held: TypeAlias = Literal["no", "now", "still"]
"""Whether a process publishes: another does, it begins, or it goes on without a break."""


class Numbered(msgspec.Struct, frozen=True, gc=False):
    """An event that waits to be published, and its number."""

    sequence: int
    event: CreditEvent | Correction | Checkpoint | RunTotal

    @property
    def kind(self) -> str:
        """What it tells of, as the ledger names it."""
        match self.event:
            case Correction():
                return "corrected"
            case Checkpoint():
                return "checkpoint"
            case RunTotal():
                return "run_settled"
            case CreditEvent(type=happened):
                return happened.value


def tell(cursor: Cursor[Any], events: Sequence[NewEvent]) -> None:
    """Have other teams told, once the transaction commits. The account's row is locked."""
    if events:
        asked = {"events": listed(events)}
        cursor.execute(query("insert_credit_events"), asked)


class CreditEvents(Session):
    """The events that wait. Not safe for threads.

    Everything raises `LedgerError`; after one that heals the next use connects anew.
    """

    def __init__(self, database_url: str, role: str) -> None:
        super().__init__(database_url, _APPLICATION)
        self._role = role

    def waiting(self) -> tuple[int, float]:
        """Return how many events wait, and the age of the oldest, seconds."""
        with self._transaction() as cursor:
            [(count, seconds)] = cursor.execute(query("count_credit_events")).fetchall()
        return count, seconds

    def take(self, holder: str, seconds: float) -> Held:
        """Become or stay who publishes, for so many seconds from now on."""
        with self._transaction() as cursor:
            return _taken(cursor, holder, seconds)

    def batch(self, holder: str, seconds: float, published: int, limit: int) -> list[Numbered]:
        """Forget what is published, and return what is to be published next, in order.

        `published` is the last number that Kafka has. Nothing is returned where somebody else may
        have published meanwhile: then Kafka is to be asked anew.
        """
        with self._transaction() as cursor:
            if _taken(cursor, holder, seconds) != "still":
                return []
            cursor.execute(query("forget_credit_events"), {"published": published})
            asked = {"published": published, "limit": limit}
            cursor.execute(query("number_credit_events"), asked)
            rows = cursor.execute(query("next_credit_events"), {"limit": limit}).fetchall()
        return [_numbered(row) for row in rows]

    def checkpoint(self, seconds: float) -> bool:
        """Make a checkpoint of what was written, if there is none of so many seconds; say whether.

        Its event waits then.
        """
        with self._transaction() as cursor:
            return checkpoint(cursor, seconds)

    def due_runs(self, grace_seconds: float) -> Sequence[str]:
        """Take completed runs that are to be summed up, for a minute; see `run_totals.claim`."""
        with self._transaction() as cursor:
            return claim(cursor, grace_seconds)

    def sum_up_run(self, run_id: str) -> bool:
        """Have other teams told what a run has cost; False where no event can say it."""
        with self._transaction() as cursor:
            return sum_up(cursor, run_id)

    def leave(self, holder: str) -> None:
        """Let another process publish at once."""
        with self._transaction() as cursor:
            cursor.execute(query("leave_credit_events"), {"holder": holder})

    @contextmanager
    def _transaction(self) -> Iterator[Cursor[Any]]:
        with self._opened() as cursor:
            asked = {"role": self._role or "none", "lock_timeout": "2s"}
            cursor.execute(query("begin_quickly"), asked)
            yield cursor


def _taken(cursor: Cursor[Any], holder: str, seconds: float) -> Held:
    asked = {"holder": holder, "seconds": seconds}
    row = cursor.execute(query("take_credit_events"), asked).fetchone()
    if row is None:
        return "no"
    return "still" if row[0] else "now"


def _numbered(row: Sequence[Any]) -> Numbered:
    sequence, kind, *values = row
    return Numbered(sequence, _event(kind, values))


def _event(kind: str, values: Sequence[Any]) -> CreditEvent | Correction | Checkpoint | RunTotal:
    match kind:
        case "checkpoint":
            number, previous, hash_, *rest = values[_OF_A_CHECKPOINT]
            return Checkpoint(number, previous.hex(), hash_.hex(), *rest)
        case "corrected":
            id_, receipt, number, reason, *rest = values[_OF_A_CORRECTION]
            return Correction(id_, receipt, number, CorrectionReason(reason), *rest)
        case "run_settled":
            *figures, open_, settled_at = values[_OF_A_RUN]
            named = msgspec.convert(open_, list[OpenCall])
            return RunTotal(*[*figures, named, settled_at])
        case _:
            event_id, _, *rest = values[_OF_AN_ACCOUNT]
            return CreditEvent(event_id, CreditEventType(kind), *rest)
