"""What simulated brokers lose: offsets of the group, and with them the end of a log.

Not promised, and left out here, is what follows where a member that is thought dead, or a
transaction that Kafka is committing, goes on with the former log: the ledger would say of other
records that they are published.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from random import Random
from typing import Final

from consumer.start import Place
from schemas.record import Record
from tests.simulation.broker import Broker
from tests.simulation.ledger import Books
from tests.simulation.member import Member

RECOVERS_SECONDS: Final = 10.0
"""For so long brokers that have lost something are slow, and many transactions fail."""


class KafkaLoss:
    """The coordinator goes on with a part of its log, and gives the group offsets of long ago.

    At times it does not know the members either: they join again, and ask where to read. Otherwise
    they go on, and find out when they have to ask, or when their log has lost its end.

    Args:
        broker: loses it.
        books: what the ledger knows.
        chance: where, and how much.
        firsts: nothing goes back before them, as dead letters are published again.
        other: the record that stands where a log has lost one.
    """

    def __init__(
        self,
        broker: Broker,
        books: Books,
        chance: Random,
        firsts: Mapping[Place, int],
        other: Callable[[Place, int], Record],
    ) -> None:
        self._broker = broker
        self._books = books
        self._chance = chance
        self._firsts = firsts
        self._other = other
        self._due = self._forgets = self._cuts = self._evicts = False
        self._unnoticed: dict[Place, int] = {}
        self.lost: list[Record] = []
        """What stood where others stand now."""

    def begin(self) -> None:
        """Have it happen as soon as there is something to lose."""
        self._due = True
        self._forgets, self._cuts = self._chance.choice(
            ((True, False), (True, True), (False, True))
        )
        self._evicts = self._chance.random() < 1 / 2

    def look(self, members: Collection[Member]) -> None:
        """Lose offsets, and the ends of logs, if that is due."""
        if not self._due or (self._cuts and self._works_on(members)):
            return
        if not self._broker.logs_hold:
            # One after the other: what was lost before has to be found out.
            return
        lost = {
            place: at
            for place, at in self._broker.committed.items()
            if at > self._firsts.get(place, 0) and self._may_go_back(place, at, members)
        }
        if not lost:
            return
        self._due = False
        for place, at in lost.items():
            self._go_back(place, at, members)
        if self._forgets:
            # A standby that knew less of it would have both of them at fault.
            self._books.before.clear()
        self._broker.recover(RECOVERS_SECONDS)
        if self._evicts:
            self._broker.forget_members()

    def _works_on(self, members: Collection[Member]) -> bool:
        """Whether somebody goes on with what was read: one that is thought dead, or Kafka."""
        thought_dead = any(one.name not in self._broker.sessions for one in members)
        return thought_dead or any(one.deciding for one in self._broker.open)

    def _may_go_back(self, place: Place, at: int, members: Collection[Member]) -> bool:
        """Whether nothing is published twice by it by rule, and nothing passed over.

        A client that was placed without an epoch does not find out what a log has lost.
        """
        known = self._books.positions.get(place)
        if known is None or (self._forgets and known.next_offset < at):
            return False
        # The ledger knows what is published, or a member has told it so in this moment.
        if (
            self._forgets
            and known.published_offset != at
            and all(one.offsets.committed_at(place) != at for one in members)
        ):
            return False
        first = self._firsts.get(place, 0)
        notice = all(one.client.would_notice(place, first) for one in members)
        return notice or self._evicts or not self._cuts

    def _go_back(self, place: Place, at: int, members: Collection[Member]) -> None:
        """Lose offsets up to `at`; logs only from where the group stands now.

        The events of all that is out, and what was not read was never told to be accepted.
        """
        now = self._firsts.get(place, 0)
        if self._forgets:
            now = self._forget(place, at)
        if not self._cuts:
            self._unnoticed[place] = now
            return
        first, log = self._chance.randrange(now, at), self._broker.logs[place]
        self.lost += log[first:]
        log[first:] = [self._other(place, offset) for offset in range(first, len(log))]
        self._broker.epochs.cut(place, first)
        for member in members:
            member.client.prove(place)

    def _forget(self, place: Place, at: int) -> int:
        known = self._books.positions[place]
        published = max(at, known.published_offset)
        self._books.positions[place] = replace(known, published_offset=published)
        now = self._chance.randrange(self._firsts.get(place, 0), at)
        self._broker.committed[place] = now
        if now:
            epochs = self._broker.committed_epochs
            epochs[place] = min(epochs[place], self._broker.epochs.at(place, now - 1))
        return now

    def have_it_noticed(self, behind: Collection[Place]) -> None:
        """Have everybody ask anew if nobody has to: what is `behind` is read, but for offsets."""
        committed = self._broker.committed
        if all(self._unnoticed.get(place) == committed.get(place, -1) for place in behind):
            self._unnoticed.clear()
            self._broker.forget_members()
