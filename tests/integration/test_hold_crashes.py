"""A hold's life with a crash between every two of its steps: it ends once, its call is paid once.

TEST_CALLS says how many lives of many crashes there are; TEST_SEED where they begin.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import count, permutations
from threading import Barrier
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest

from charging.outcomes import Decided, OutcomeKind
from ledger.admission import Ask
from ledger.receipts import ReceiptWriter
from tests.databases.writing import ROLE
from tests.doubles.dying_connection import End, Fuse, crashing
from tests.inputs.callbacks import costing, decided, element
from tests.integration.hold_parties import Guard, Party, Sweeping
from tests.observers.credits import unbalanced
from tests.waiting import NET_SECONDS, eventually

LIVES: Final = int(os.environ.get("TEST_CALLS") or 100)
SEED: Final = int(os.environ.get("TEST_SEED") or 18)
MOST_MOVES: Final = 6
RACES: Final = 100
GRANTED: Final = 10_000
AMOUNT: Final = 500
KEPT: Final = 1_000
"""Is held for another call of the account all the time: what is freed twice is missing in it."""
LONG: Final = 2
TAKEN: Final = {OutcomeKind.CREATED, OutcomeKind.DUPLICATE, OutcomeKind.SKIPPED}
ENDED: Final = frozenset({"captured", "released", "expired"})
COST: Final = "0.000036"
CHARGED: Final = 360
OPEN: Final = """
WITH granted AS (
    INSERT INTO billing.credit_entries (billing_account_id, reason, reference, amount, balance)
    VALUES (%(name)s, 'grant', %(name)s, %(granted)s, %(granted)s)
)
INSERT INTO billing.credit_accounts (billing_account_id, kind, balance, "limit")
VALUES (%(name)s, 'prepaid', %(granted)s, 0)
"""
OVERDUE: Final = """
UPDATE billing.credit_holds SET expires_at = now() - interval '1 s'
WHERE billing_account_id = %s AND litellm_call_id = 'call' AND state = 'held'
"""
IS_HELD: Final = """
SELECT state FROM billing.credit_holds
WHERE billing_account_id = %s AND litellm_call_id = 'call' AND state = 'held'
"""
CAME_OF: Final = """
SELECT account.billing_account_id, account.balance, account.held, array_agg(hold.state)
FROM billing.credit_accounts AS account
JOIN billing.credit_holds AS hold ON hold.billing_account_id = account.billing_account_id
WHERE hold.litellm_call_id = 'call'
GROUP BY account.billing_account_id
"""
HELD: Final = "held"


class Move(StrEnum):
    """What may happen to a call that has its hold, by what it makes of the hold."""

    RECEIPT = "captured"
    RELEASE = "released"
    EXPIRY = "expired"
    FAILURE = HELD


@dataclass
class Stage:
    """Everybody who has to do with holds, and what must have come of each account.

    `due` is the balance and the states of which the hold must have one.
    """

    guards: list[Party[Guard]]
    sweepers: list[Party[Sweeping]]
    members: list[Party[ReceiptWriter]]
    fuse: Fuse
    admin: psycopg.Connection[Any]
    due: dict[str, tuple[int, frozenset[str]]] = field(default_factory=dict)

    def hold(self, name: str, *, opened: bool = True) -> UUID:
        """Ask for a call of a new account, until there is an answer; its hold."""
        if opened:
            self.admin.execute(OPEN, {"name": name, "granted": GRANTED})
        asks = [Ask(name, "call", "n", AMOUNT, 600), Ask(name, "kept", "n", KEPT, 86_400)]
        [answer, _] = self.guards[0].until_done(lambda guard: guard.ask(asks))
        assert answer.hold is not None
        return answer.hold.id

    def sweep(self) -> None:
        """Look for expired holds, until that is done."""
        self.sweepers[0].until_done(Sweeping.sweep)

    def expire(self, name: str) -> None:
        """Let the time of a hold be over, and sweep until it is not held."""
        self.admin.execute(OVERDUE, [name])

        def over() -> bool:
            # Of a session that has just crashed, PostgreSQL may have the rows locked for a moment.
            self.sweep()
            return not self.admin.execute(IS_HELD, [name]).fetchone()

        eventually(over, f"the hold of {name} to end")

    def write(self, batch: Sequence[Decided]) -> None:
        """Write a batch, until its transaction is known to be committed."""
        written(self.members[0], batch)

    def live(self, name: str, moves: Sequence[Move], *, opened: bool = True) -> None:
        """A call's life: these moves, whatever crashes, and all that must come after them."""
        hold, batches, state = self.hold(name, opened=opened), list[list[Decided]](), HELD
        for number, move in enumerate(moves):
            state = move.value if state == HELD else state
            match move:
                case Move.RECEIPT | Move.FAILURE:
                    batches.append([callback(name, hold, move, number)])
                    self.write(batches[-1])
                    if state == HELD:
                        # Its time is not over: a fallback may still come with it.
                        self.sweep()
                case Move.RELEASE:
                    assert self.guards[0].until_done(lambda guard: guard.release(hold)) == state
                case Move.EXPIRY:
                    self.expire(name)
        # The group had not committed what it has written: it comes again.
        for batch in batches:
            self.write(batch)
        if state == HELD:
            state = Move.EXPIRY.value
            self.expire(name)
        spent = CHARGED * moves.count(Move.RECEIPT)
        self.due[name] = (GRANTED if opened else 0) - spent, frozenset({state})

    @property
    def parties(self) -> list[object]:
        """All of them."""
        return [*self.guards, *self.sweepers, *self.members]

    def ends(self, name: str, hold: UUID) -> list[Callable[[], object]]:
        """What each does to a hold whose time is over: one asks again, the others would end it."""
        batch = [callback(name, hold, Move.RECEIPT)]
        ask = Ask(name, "call", "n", AMOUNT, 600)
        asking, releasing = self.guards
        return [
            lambda: asking.until_done(lambda guard: guard.ask([ask])),
            lambda: releasing.until_done(lambda guard: guard.release(hold)),
            *(partial(one.until_done, Sweeping.sweep) for one in self.sweepers),
            *(partial(written, one, batch) for one in self.members),
        ]

    def audit(self) -> None:
        """Compare every account with what is due; then nothing is held for ever, of any call."""
        self.fuse.light(0)
        rows = self.admin.execute(CAME_OF).fetchall()
        found = {name: (balance, held, states) for name, balance, held, states in rows}
        assert found.keys() == self.due.keys()
        wrong = {
            name: found[name]
            for name, (balance, states) in self.due.items()
            if found[name][:2] != (balance, KEPT)
            or len(found[name][2]) != 1
            or found[name][2][0] not in states
        }
        assert not wrong
        assert unbalanced(self.admin) == []
        self.admin.execute("UPDATE billing.credit_holds SET expires_at = now() - interval '1 s'")
        self.sweep()
        held = "SELECT count(*) FROM billing.credit_accounts WHERE held <> 0"
        assert self.admin.execute(held).fetchall() == [(0,)]
        assert unbalanced(self.admin) == []


def written(member: Party[ReceiptWriter], batch: Sequence[Decided]) -> None:
    """Have a member write a batch; none of it may be refused."""
    said = member.until_done(lambda writer: writer.write(batch))
    assert all(one.outcome in TAKEN for one in said), said


def callback(name: str, hold: UUID, move: Move, number: int = 0) -> Decided:
    """What LiteLLM tells of a call that has this hold: what it cost, or that it failed."""
    fields: dict[str, Any] = {
        "id": f"{name}-{number}",
        "litellm_call_id": name,
        "end_user": name,
        "metadata": {"spend_logs_metadata": {"run_id": name, "billing_hold": str(hold)}},
    }
    if move is Move.FAILURE:
        return decided(element(status="failure", response_cost=0, **fields))
    return decided(costing(COST, **fields))


@pytest.fixture
def stage(migrated_database_url: str) -> Iterator[Stage]:
    """Two guards, two sweepers and two members, on connections that crash by one fuse."""
    url = migrated_database_url
    with ExitStack() as stack:
        fuse = stack.enter_context(crashing(Fuse()))

        def party(make: Callable[[], Any]) -> Any:  # noqa: ANN401 - of whichever kind
            return stack.enter_context(closing(Party(make, fuse)))

        yield Stage(
            [party(partial(Guard, url)) for _ in range(2)],
            [party(partial(Sweeping, url)) for _ in range(2)],
            [party(partial(ReceiptWriter, url, ROLE)) for _ in range(2)],
            fuse,
            stack.enter_context(psycopg.connect(url, autocommit=True)),
        )


def met(ready: Barrier, what: Callable[[], object]) -> None:
    """Do it when everybody is about to do theirs."""
    ready.wait(NET_SECONDS)
    what()


def dice() -> random.Random:
    """Dice that fall the same way each time."""
    return random.Random(SEED)  # noqa: S311 - a schedule, no secret


def test_EVERY_HOLD_ENDS_ONCE_and_its_call_is_paid_once_with_a_crash_at_each_step(
    stage: Stage,
) -> None:
    lives = [moves for length in range(3) for moves in permutations(Move, length)]
    for moves in lives:
        for step in count(1):
            # To the database both ends are the same; of long lives each step meets one of them.
            for end in list(End) if len(moves) < LONG else [list(End)[step % len(End)]]:
                stage.fuse.light(step, end)
                stage.live(f"{'+'.join(moves)} {end.name} {step}", moves, opened=bool(moves))
            if stage.fuse.steps < step:
                break
    stage.audit()


def test_EVERY_HOLD_ENDS_ONCE_with_many_crashes_in_lives_of_any_order(stage: Stage) -> None:
    chance = dice()
    for number in range(LIVES):
        stage.fuse.light(chance=chance)
        moves = chance.choices(list(Move), k=chance.randint(0, MOST_MOVES))
        stage.live(f"seed {SEED} life {number}: {'+'.join(moves)}", moves)
    stage.audit()


def test_EVERY_HOLD_ENDS_ONCE_where_guards_sweepers_and_members_end_it_at_once(
    stage: Stage,
) -> None:
    chance = dice()
    with ThreadPoolExecutor(len(stage.parties)) as pool:
        for number in range(RACES):
            name = f"seed {SEED} race {number}"
            stage.fuse.light()
            hold = stage.hold(name)
            stage.admin.execute(OVERDUE, [name])
            stage.fuse.light(chance=chance)
            ends = stage.ends(name, hold)
            ready = Barrier(len(ends))
            for end in [pool.submit(met, ready, end) for end in ends]:
                end.result(NET_SECONDS)
            stage.due[name] = GRANTED - CHARGED, ENDED
    stage.audit()
