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
from tests.simulation.world import World

TOPIC: Final = "callbacks"


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
        offsets = Offsets(SimulatedTopics(world, broker), "group", self.ledger)
        continuity = Continuity(decide, self.ledger, offsets, self.stop, world.time)
        self.client = Client(world, broker, name)
        foreign: Any = self.client
        self._broker = broker
        self._loop = Loop(
            settings,
            decide,
            foreign,
            self.ledger,
            self.events,
            offsets=offsets,
            continuity=continuity,
            health=Health(60.0, world.time),
            stop=self.stop,
            machine=self.machine,
        )
        self.actor = world.begin(name, self._run)

    def _run(self) -> None:
        self._loop.run([TOPIC])
        self._broker.leave(self.name)
