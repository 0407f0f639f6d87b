"""What a member reaches beside its group: its transactional producer, and what topics are."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from charging.outcomes import Outcome, Parked
from consumer.extent import Extent
from consumer.publisher import PublishError
from consumer.start import Place
from schemas.record import Record
from tests.simulation.broker import (
    TRANSACTION_SECONDS,
    Broker,
    Metadata,
    Transaction,
    refusal,
)
from tests.simulation.client import TIMED_OUT
from tests.simulation.world import World


def letter(record: Record) -> object:
    """The dead letter of a record: its bytes, and where they stood."""
    return (record.provenance, record.value)


class SimulatedEvents:
    """One member's transactional producer."""

    def __init__(self, world: World, broker: Broker, name: str) -> None:
        self._world = world
        self._broker = broker
        self._name = name
        self.fails: Callable[[], str | None] = lambda: None
        self._failed = False
        self.publishing_since: float | None = None

    def publish(self, outcomes: Sequence[Outcome], extent: Extent, metadata: object) -> None:
        """Commit, or fail: with nothing done, or with everything done, or who knows."""
        if self._failed:
            raise PublishError("a producer that has failed takes nothing")
        self._failed = True
        self.publishing_since = self._world.now
        try:
            self._transact(outcomes, extent, metadata)
        finally:
            self.publishing_since = None
        self._failed = False

    def _transact(self, outcomes: Sequence[Outcome], extent: Extent, metadata: object) -> None:
        broker, fails = self._broker, self.fails()
        events: list[object] = [
            one.receipt.id if one.receipt else letter(one.decided.record)
            for one in outcomes
            if one.receipt or isinstance(one.decided.decision, Parked)
        ]
        broker.answers()
        if fails == "before":
            # What it had not begun leaves it as it was: it would take the next transaction.
            self._failed = False
        if broker.away or fails == "before":
            raise PublishError("not begun")
        one = Transaction(self._name, events, deadline=self._world.now + TRANSACTION_SECONDS)
        broker.open.append(one)
        broker.answers()
        assert isinstance(metadata, Metadata)
        if not broker.accepts(metadata):
            raise PublishError("Specified group generation id is not valid")
        one.offsets, one.epochs = dict(extent.end), dict(extent.epochs)
        broker.answers()
        if broker.away or fails == "lost" or one not in broker.open:
            raise PublishError("lost")
        one.deciding = True
        if fails == "unknown":
            raise PublishError("nobody knows")
        broker.answers()
        broker.commit(one)
        if fails == "after":
            raise PublishError("the answer was lost")

    def renew(self) -> None:
        """Fence the former producer."""
        self._world.pause(0.01)
        if self._broker.away:
            raise refusal(TIMED_OUT, "timed out")
        self._broker.fence(self._name)
        self._failed = False


class SimulatedTopics:
    """What the cluster says of topics."""

    def __init__(self, world: World, broker: Broker) -> None:
        self._world = world
        self._broker = broker

    def _reach(self) -> None:
        self._world.pause(self._world.chance.choice((0.0, 0.01)))
        if self._broker.away:
            raise refusal(TIMED_OUT, "timed out")

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        """Always the same."""
        self._reach()
        return {topic: f"id of {topic}" for topic in topics}

    def ends(self, places: Collection[Place]) -> tuple[dict[Place, int], dict[Place, int]]:
        """Everything is there."""
        self._reach()
        return dict.fromkeys(places, 0), {place: len(self._broker.logs[place]) for place in places}

    def epochs(self, offsets: Mapping[Place, int]) -> dict[Place, int]:
        """Of the leaders that wrote what stands there."""
        self._reach()
        return {place: self._broker.epochs.at(place, offset) for place, offset in offsets.items()}

    def read(
        self, place: Place, first: int, end: int, told: Callable[[], bool]
    ) -> Iterator[list[Record]]:
        """In batches of one."""
        for record in self._broker.logs[place][first:end]:
            self._reach()
            if told():
                return
            yield [record]
