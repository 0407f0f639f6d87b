"""The simulated brokers: logs, a group with its generations, and transactions of unknown end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from consumer.start import Place
from schemas.record import Record
from tests.simulation.epochs import Epochs
from tests.simulation.world import ENDLESS, World

SESSION_SECONDS: Final = 15.0
TRANSACTION_SECONDS: Final = 15.0
GATHERING_SECONDS: Final = 3.0
"""So long a group that had no member waits for others (`group.initial.rebalance.delay.ms`)."""
NO_OFFSET: Final = -1001
QUICK_SECONDS: Final = (0.0, 0.001)
SLOW_SECONDS: Final = (0.02, 1.0)
"""Long enough that the next batch is written before this one is published."""


def refusal(code: int, why: str) -> KafkaException:
    """What the client raises."""
    return KafkaException(KafkaError(code, why, retriable=True))


@dataclass
class Transaction:
    """Events and offsets that become visible together, or never."""

    member: str
    events: list[object]
    offsets: dict[Place, int] = field(default_factory=dict)
    epochs: dict[Place, int] = field(default_factory=dict)
    deadline: float = 0.0
    deciding: bool = False
    """The coordinator has written that it commits: it will, whoever asks."""


@dataclass(frozen=True)
class Metadata:
    """Which member of which generation, as its client says it."""

    member: str
    generation: int


@dataclass
class Session:
    """A member of the group, as its coordinator sees it."""

    owned: set[Place] = field(default_factory=set)
    joined: bool = False
    target: set[Place] = field(default_factory=set)
    told: int = 0
    """The generation whose assignment it has been given."""


class Broker:
    """All brokers at once.

    Args:
        world: their clock and chance.
        logs: the records of each partition.
        audit: is shown what each transaction commits.
    """

    def __init__(self, world: World, logs: Mapping[Place, list[Record]]) -> None:
        self._world = world
        self.logs = logs
        self.epochs = Epochs(logs)
        self.committed: dict[Place, int] = {}
        self.committed_epochs: dict[Place, int] = {}
        self.events: list[object] = []
        self.open: list[Transaction] = []
        self.sessions: dict[str, Session] = {}
        self.generation = 0
        self.preparing = False
        self.gathers_until = 0.0
        self.away_until = 0.0
        self.slow_until = 0.0
        self.recovers_until = 0.0
        self.went_back: list[Place] = []
        self.silent_since: dict[str, float] = {}

    @property
    def away(self) -> bool:
        """Whether no broker answers."""
        return self._world.now < self.away_until

    @property
    def logs_hold(self) -> bool:
        """Whether the logs have all that the group has read, as far as anybody knows."""
        return self.epochs.hold(self.committed, self.committed_epochs)

    def answers(self) -> None:
        """Take the time that an answer of a transaction's coordinator takes."""
        slow = self._world.now < max(self.slow_until, self.recovers_until)
        self._world.pause(self._world.chance.choice(SLOW_SECONDS if slow else QUICK_SECONDS))

    def recover(self, seconds: float) -> None:
        """Be slow, and fail at many a transaction."""
        self.recovers_until = self._world.now + seconds

    # The group

    def trigger(self) -> None:
        """Begin a rebalance."""
        self.preparing = True
        for session in self.sessions.values():
            session.joined = False

    def join(self, member: str) -> None:
        """A new member, or one that was thought dead."""
        if self.gathers_until == ENDLESS:
            self.gathers_until = self._world.now + GATHERING_SECONDS
        self.sessions[member] = Session()
        self.trigger()

    def leave(self, member: str) -> None:
        """It goes, or its session has ended."""
        if self.sessions.pop(member, None) is not None:
            self.trigger()
            self.complete()

    def forget_members(self) -> None:
        """Know nobody any more: they come back, and wait for each other."""
        for name in list(self.sessions):
            self.leave(name)
        self.gathers_until = ENDLESS

    def expire(self) -> None:
        """Give up on members that were silent for a session."""
        for member, since in list(self.silent_since.items()):
            if member in self.sessions and self._world.now - since > SESSION_SECONDS:
                self.leave(member)

    def complete(self) -> None:
        """End the rebalance once every member has joined it."""
        if not self.preparing or self._world.now < self.gathers_until:
            return
        if not all(one.joined for one in self.sessions.values()):
            return
        self.preparing = False
        self.generation += 1
        chance, members = self._world.chance, list(self.sessions)
        owners = {place: name for name, one in self.sessions.items() for place in one.owned}
        for one in self.sessions.values():
            one.target = set()
        if not members:
            return
        for place in self.logs:
            owner = owners.get(place)
            wanted = owner if owner and chance.random() < 2 / 3 else chance.choice(members)
            # What moves is taken away now, and given in the rebalance after that.
            if owner in {None, wanted}:
                self.sessions[wanted].target.add(place)

    # Transactions

    def end_transactions(self) -> None:
        """Finish what was being committed; roll back what is older than its timeout."""
        for one in list(self.open):
            if one.deciding:
                if self._world.chance.random() < 1 / 4:
                    self.commit(one)
            elif self._world.now > one.deadline:
                self.open.remove(one)

    def commit(self, one: Transaction) -> None:
        """Make a transaction's events and offsets visible."""
        if one in self.open:
            self.open.remove(one)
            self.events += one.events
            self.went_back += [
                place
                for place, at in one.offsets.items()
                if at < self.committed.get(place, 0)
                # Unless its log has lost its end since.
                and one.epochs.get(place, 0) <= self.committed_epochs.get(place, 0)
            ]
            self.committed |= one.offsets
            self.committed_epochs |= one.epochs

    def fence(self, member: str) -> None:
        """Finish or roll back whatever a member's former producer has left."""
        for one in [one for one in self.open if one.member == member]:
            if one.deciding:
                self.commit(one)
            else:
                self.open.remove(one)

    def accepts(self, metadata: Metadata) -> bool:
        """Whether offsets of this member in this generation are taken."""
        return metadata.member in self.sessions and metadata.generation == self.generation

    def stable(self, places: Sequence[Place]) -> bool:
        """Whether no transaction is open on these offsets."""
        return not any(place in one.offsets for one in self.open for place in places)
