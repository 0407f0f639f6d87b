"""The simulated member: the consumer's own loop between simulated Kafka, ledger and machine."""

import threading
from collections.abc import Callable
from typing import Any, Final

from charging.outcomes import Decision
from consumer.continuity import Continuity
from consumer.health import Health
from consumer.loop import Loop
from consumer.offsets import Offsets
from consumer.settings import Settings
from schemas.record import Record
from tests.simulation.broker import Broker
from tests.simulation.client import Client
from tests.simulation.cluster import SimulatedEvents, SimulatedTopics
from tests.simulation.ledger import Books, SimulatedLedger
from tests.simulation.machine import SimulatedMachine
from tests.simulation.world import BrokenError, World

TOPIC: Final = "callbacks"
HANGS_SECONDS: Final = 4.0
"""Less than what the loop takes for something that hangs."""


class Member:
    """One consumer process."""

    def __init__(
        self,
        world: World,
        broker: Broker,
        books: Books,
        name: str,
        *,
        settings: Settings,
        decide: Callable[[Record], Decision],
    ) -> None:
        self.name = name
        self.stop = threading.Event()
        self.ledger = SimulatedLedger(world, books)
        self.events = SimulatedEvents(world, broker, name)
        self.machine = SimulatedMachine(world, name)
        self.offsets = Offsets(SimulatedTopics(world, broker), "group", self.ledger)
        # What it writes again may go on while partitions leave.
        self.repairs = SimulatedLedger(world, books)
        continuity = Continuity(decide, self.repairs, self.offsets, self.stop, world.time)
        self.client = Client(world, broker, name)
        self.client.revoked = self._revoked
        self._world = world
        foreign: Any = self.client
        self._broker = broker
        self._loop = Loop(
            settings,
            decide,
            foreign,
            self.ledger,
            self.events,
            offsets=self.offsets,
            continuity=continuity,
            health=Health(60.0, world.time),
            stop=self.stop,
            machine=self.machine,
        )
        self.actor = world.begin(name, self._run)

    def _run(self) -> None:
        self._loop.run([TOPIC])
        self._broker.leave(self.name)

    def _revoked(self, seconds: float) -> None:
        """What is in hand was waited for, unless that takes long or something hangs."""
        begun = (self.ledger.writing_since, self.events.publishing_since)
        under_way = [since for since in begun if since is not None]
        hangs = any(self._world.now - since > HANGS_SECONDS for since in under_way)
        if under_way and not hangs and seconds < HANGS_SECONDS:
            raise BrokenError("partitions were given away while a batch of theirs was in hand")
