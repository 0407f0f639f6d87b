"""The simulated ledger: what PostgreSQL commits, and how it fails before, during and after that."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final
from uuid import UUID

from psycopg import OperationalError

from charging.outcomes import Charge, Decided, DuplicateReason, Outcome, OutcomeKind, Parked
from consumer.start import Place
from ledger.gap import Known, LedgerBehindError, Published
from ledger.positions import Move
from ledger.rereading import reread
from schemas.receipt import ChargeReason
from schemas.record import Provenance
from tests.simulation.world import World

QUICK_SECONDS: Final = (0.0, 0.001, 0.02)
SLOW_SECONDS: Final = (0.02, 3.0)
"""Long enough that the loop polls beside the question, and partitions come and leave."""
STANDBY_IS_BEHIND: Final = 3
"""Commits at most."""


@dataclass
class Books:
    """What all members see: receipts by their ids, positions by partition."""

    receipts: dict[UUID, Provenance] = field(default_factory=dict)
    positions: dict[Place, Known] = field(default_factory=dict)
    away_until: float = 0.0
    slow_until: float = 0.0
    before: deque[tuple[dict[UUID, Provenance], dict[Place, Known]]] = field(
        default_factory=lambda: deque(maxlen=STANDBY_IS_BEHIND)
    )
    """What they were before each of the latest commits."""

    def keep(self) -> None:
        """Remember what they are, before they change."""
        self.before.append((dict(self.receipts), dict(self.positions)))

    def fail_over(self, chance: Random) -> None:
        """Lose the latest commits: a standby that was behind becomes the primary.

        It knows every partition that the primary knew. Of one that it never heard of nobody can say
        whether its topic was made anew, and by rule it is read again, and published again.
        """
        known = [each for each in self.before if each[1].keys() == self.positions.keys()]
        if known:
            self.receipts, self.positions = chance.choice(known)
            self.before.clear()


class SimulatedLedger:
    """One member's way to the books."""

    def __init__(self, world: World, books: Books) -> None:
        self._world = world
        self._books = books
        self.fails_before: Callable[[], bool] = lambda: False
        self.fails_after: Callable[[], bool] = lambda: False
        self.fails_over: Callable[[], bool] = lambda: False
        self.writing_since: float | None = None
        self._abandoned = False

    def _reach(self) -> None:
        slow = self._world.now < self._books.slow_until
        self._world.pause(self._world.chance.choice(SLOW_SECONDS if slow else QUICK_SECONDS))
        if self._abandoned or self._world.now < self._books.away_until or self.fails_before():
            raise OperationalError("away")
        if self.fails_over():
            self._books.fail_over(self._world.chance)

    def _committed(self) -> None:
        """The commit is done; its answer may be lost."""
        self._world.pause(self._world.chance.choice((0.0, 0.001)))
        if self._world.now < self._books.away_until or self.fails_after():
            raise OperationalError("the commit's answer was lost")

    def write(self, batch: Sequence[Decided], published: Sequence[Published] = ()) -> list[Outcome]:
        """All or nothing."""
        self.writing_since = self._world.now
        try:
            self._reach()
            self._books.keep()
            before = self._remember(published)
            outcomes = [self._outcome(decided) for decided in batch]
            outcomes, unpublished = reread(outcomes, published, before)
            for one, offset in unpublished:
                known = Known(one.topic_id, one.next_offset, offset)
                self._books.positions[one.topic, one.partition] = known
                # A standby without this would count what the log has lost: that is not promised.
                self._books.before.clear()
            self._committed()
        finally:
            self.writing_since = None
        return outcomes

    def _outcome(self, decided: Decided) -> Outcome:
        decision = decided.decision
        if isinstance(decision, Parked):
            return Outcome(decided, OutcomeKind.PARKED, decision.reason)
        assert isinstance(decision, Charge)
        receipt, mine = decision.receipt, decided.record.provenance
        known = self._books.receipts.get(receipt.id)
        if known is None:
            self._books.receipts[receipt.id] = mine
            return Outcome(decided, OutcomeKind.CREATED, ChargeReason.USAGE, receipt)
        if known == mine:
            return Outcome(decided, OutcomeKind.DUPLICATE, DuplicateReason.REPLAYED, receipt)
        return Outcome(decided, OutcomeKind.DUPLICATE, DuplicateReason.RECEIPT)

    def remember(self, published: Sequence[Published]) -> None:
        """Positions alone."""
        self._reach()
        self._books.keep()
        self._remember(published)
        self._committed()

    def _remember(self, published: Sequence[Published]) -> dict[Place, int]:
        positions = self._books.positions
        before = {
            (one.topic, one.partition): min(known.published_offset, known.next_offset)
            for one in published
            if (known := positions.get((one.topic, one.partition)))
            and min(known.published_offset, known.next_offset) > one.published_offset
        }
        for one in published:
            known = positions.get((one.topic, one.partition))
            if (known.next_offset if known else 0) < one.committed:
                raise LedgerBehindError(f"{one.topic}/{one.partition}")
        for one in published:
            known = positions.get((one.topic, one.partition), Known(one.topic_id, 0, 0))
            positions[one.topic, one.partition] = Known(
                one.topic_id,
                max(known.next_offset, one.next_offset),
                max(known.published_offset, one.published_offset),
            )
        return before

    def known(self, group: str, places: Collection[Place]) -> dict[Place, Known]:
        """What the books know of partitions."""
        self._reach()
        positions = self._books.positions
        return {
            place: Known(
                known.topic_id, known.next_offset, min(known.published_offset, known.next_offset)
            )
            for place in places
            if (known := positions.get(place))
        }

    def move(self, group: str, moves: Sequence[Move]) -> list[Move]:
        """Positions that nobody has changed since."""
        self._reach()
        self._books.keep()
        moved = []
        for one in moves:
            place = (one.topic, one.partition)
            known = self._books.positions.get(place)
            if known is None or (
                one.seen is not None
                and known.next_offset == one.seen.next_offset
                and min(known.published_offset, known.next_offset) == one.seen.published_offset
            ):
                if known is not None and one.offset < known.next_offset:
                    # As in `write`.
                    self._books.before.clear()
                self._books.positions[place] = Known(one.topic_id, one.offset, one.offset)
                moved.append(one)
        self._committed()
        return moved

    def takes(self, decided: Decided) -> bool:
        """Everything."""
        return True

    def open_deferred(self) -> tuple[int, float]:
        """None."""
        self._reach()
        return 0, 0.0

    def waiting_responses(self) -> tuple[int, float]:
        """None."""
        return 0, 0.0

    def abandon(self) -> None:
        """Whatever waits fails."""
        self._abandoned = True
