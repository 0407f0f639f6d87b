"""A schedule: members, records and faults in an order of a seed, and what must hold afterwards."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from typing import Final
from uuid import UUID

import msgspec
import structlog

from charging.outcomes import Charge, Decision, Parked
from consumer import metrics
from consumer.settings import Settings
from consumer.start import Place
from schemas.headers import Reason
from schemas.record import Record
from tests.inputs.callbacks import RECEIVED_MS, charged, element
from tests.inputs.settings import settings
from tests.simulation.broker import SESSION_SECONDS, Broker
from tests.simulation.cluster import letter
from tests.simulation.kafka_loss import KafkaLoss
from tests.simulation.ledger import Books
from tests.simulation.member import TOPIC, Member
from tests.simulation.world import BrokenError, World

FAULTY_SECONDS: Final = 40.0
"""After that everything heals, and the group has to come to the end of every partition."""
PATIENCE_SECONDS: Final = 10.0
"""As long as that members have time to find out by themselves."""
PARKED_TOGETHER: Final = 3
"""Fewer than the dead-letter limit takes: only counted twice do they reach it."""


@dataclass(frozen=True)
class Shape:
    """How large a schedule is."""

    members: int = 3
    partitions: int = 4
    records: int = 8
    faults: int = 6


@cache
def _sample() -> Charge:
    return charged(element())


@cache
def _settings() -> Settings:
    return settings(
        consumer_batch_records=6,
        consumer_batch_wait_ms=50,
        consumer_retry_max_ms=1_000,
        consumer_dead_letter_run=PARKED_TOGETHER + 1,
        consumer_dead_letter_share=1.0,
    )


class Schedule:
    """One run of the consumer's loops in a simulated world.

    Args:
        seed: of everything that is chance in it.
        shape: how large it is.
    """

    def __init__(self, seed: int, shape: Shape) -> None:
        self._world = World(seed)
        self._shape = shape
        self._decisions: dict[bytes | None, Decision] = {}
        self._logs = {place: list(self._log(place)) for place in self._places()}
        self._ends = {place: len(log) for place, log in self._logs.items()}
        self._broker = Broker(self._world, self._logs)
        self._books = Books()
        self._loss = KafkaLoss(
            self._broker,
            self._books,
            self._world.chance,
            {(TOPIC, 0): PARKED_TOGETHER},
            self._other,
        )
        self._members: list[Member] = []
        self._made = 0
        self._faults = shape.faults
        self._calm = False
        self._calm_since = 0.0

    def _places(self) -> Iterator[Place]:
        for partition in range(self._shape.partitions):
            yield (TOPIC, partition)

    def _log(self, place: Place) -> Iterator[Record]:
        """Calls, some told twice; on the first partition some in a row that cannot be billed."""
        for offset in range(self._shape.records):
            if place[1] == 0 and offset < PARKED_TOGETHER:
                yield Record(*place, offset, RECEIVED_MS, b"run", b"no call", ())
            else:
                number = offset - 1 if offset > PARKED_TOGETHER and offset % 4 == 1 else offset
                yield self._call(place, offset, UUID(int=place[1] << 32 | number))

    def _call(self, place: Place, offset: int, id_: UUID) -> Record:
        record = Record(*place, offset, RECEIVED_MS, b"run", id_.bytes, ())
        receipt = msgspec.structs.replace(_sample().receipt, id=id_)
        self._decisions[record.value] = msgspec.structs.replace(_sample(), receipt=receipt)
        return record

    def _decide(self, record: Record) -> Decision:
        return self._decisions.get(record.value, Parked(Reason.CONTRACT_BROKEN, ""))

    def run(self) -> None:
        """Run it to its end. Raises an `AssertionError` where something is wrong."""
        for _ in range(self._shape.members):
            self._start()
        try:
            self._world.run(self._whole, self._each)
            for member in self._members:
                member.stop.set()
            self._world.run(lambda: all(one.actor.ended for one in self._members), lambda: None)
            self._audit()
        finally:
            self._world.close()

    def fingerprint(self) -> str:
        """Return what differs between two runs that did not take the same turns."""
        return f"{self._world.now} {self._world.chance.random()}"

    def _start(self) -> None:
        self._made += 1
        member = Member(
            self._world,
            self._broker,
            self._books,
            f"member-{self._made}",
            settings=_settings(),
            decide=self._decide,
        )
        member.events.fails = self._failure
        for ledger in (member.ledger, member.repairs):
            ledger.fails_before = lambda: self._happens(1 / 30)
            ledger.fails_after = lambda: self._happens(1 / 30)
        member.repairs.fails_over = lambda: self._happens(1 / 10)
        self._members.append(member)

    def _failure(self) -> str | None:
        recovers = self._world.now < self._broker.recovers_until
        if not self._happens(1 / 2 if recovers else 1 / 6):
            return None
        return self._world.chance.choice(("before", "lost", "unknown", "after"))

    def _happens(self, probability: float) -> bool:
        return not self._calm and self._world.chance.random() < probability

    def _each(self) -> None:
        """What happens to the members and around them, before each turn."""
        if not self._calm:
            over = self._faults <= 0 and self._world.now > self._broker.recovers_until
            self._calm = self._world.now > FAULTY_SECONDS or over
            self._calm_since = self._world.now
            if self._faults > 0 and self._world.chance.random() < 1 / 60:
                self._faults -= 1
                self._world.chance.choice(self._faulty())()
            self._loss.look(self._members)
        for member in self._members:
            if member.actor.ended:
                self._members.remove(member)
                break
        if not self._members:
            self._start()

    def _faulty(self) -> list[Callable[[], None]]:
        world, member = self._world, self._world.chance.choice(self._members)

        def kafka_away() -> None:
            self._broker.away_until = world.now + world.chance.choice((0.02, 0.5, 3.0, 20.0))

        def ledger_away() -> None:
            self._books.away_until = world.now + world.chance.choice((0.02, 0.5, 3.0, 20.0))

        def ledger_slow() -> None:
            self._books.slow_until = world.now + world.chance.choice((3.0, 20.0))

        def kafka_slow() -> None:
            self._broker.slow_until = world.now + world.chance.choice((3.0, 20.0))

        def failed_over() -> None:
            self._books.fail_over(world.chance)

        def killed() -> None:
            world.kill(member.name)
            self._broker.silent_since[member.name] = world.now
            member.actor.ended = True

        def frozen() -> None:
            seconds = world.chance.choice((1.0, 10.0, 20.0))
            world.freeze(member.name, seconds)
            if seconds > SESSION_SECONDS:
                self._broker.leave(member.name)

        def rebalanced() -> None:
            self._broker.trigger()

        return [
            *(kafka_away, kafka_slow, ledger_away, ledger_slow, failed_over, killed, frozen),
            *(self._loss.begin, self._loss.begin),
            *(rebalanced, rebalanced, rebalanced, self._start, member.stop.set),
        ]

    def _other(self, place: Place, offset: int) -> Record:
        """A call that stands where the log has lost another one."""
        return self._call(place, offset, UUID(int=len(self._decisions) << 64))

    def _whole(self) -> bool:
        """Whether the group has come to the end of every partition, in peace."""
        if not self._calm:
            return False
        committed = self._broker.committed
        if behind := [place for place, end in self._ends.items() if committed.get(place) != end]:
            if self._world.now > self._calm_since + PATIENCE_SECONDS:
                self._loss.have_it_noticed(behind)
            return False
        # And what a log has lost is found out by whoever reads on.
        if not self._broker.logs_hold:
            return False
        # What a fail-over has lost is found out within seconds.
        positions = self._books.positions
        if any(
            place not in positions or positions[place].next_offset < end
            for place, end in self._ends.items()
        ):
            return False
        self._broker.end_transactions()
        return not self._broker.open

    def _event(self, record: Record) -> object:
        """The one event that a record has: its receipt's id, or its dead letter."""
        decision = self._decide(record)
        return decision.receipt.id if isinstance(decision, Charge) else letter(record)

    def _audit(self) -> None:
        """Compare what was written and published with what was sent."""
        expected: set[object] = set()
        for record in chain.from_iterable(self._logs.values()):
            event = self._event(record)
            expected.add(event)
            if isinstance(event, UUID) and event not in self._books.receipts:
                raise BrokenError(f"NOTHING_VANISHES: no receipt of {record.provenance}")
        published = Counter(self._broker.events)
        # What a log has lost was published, or no member has read it in time.
        expected |= published.keys() & set(map(self._event, self._loss.lost))
        if published != Counter(expected):
            twice, never = published - Counter(expected), expected - published.keys()
            raise BrokenError(
                f"RECEIPTS_PUBLISHED_EXACTLY_ONCE: twice {list(twice)}, never {list(never)}"
            )
        if self._broker.went_back:
            raise BrokenError(f"transactions took effect out of order: {self._broker.went_back}")
        for place, at in self._broker.committed.items():
            if self._books.positions[place].next_offset < at:
                raise BrokenError(f"COMMIT_AFTER_WRITE: {place}")


def run(seed: int, shape: Shape) -> None:
    """Run the schedule of a seed, silently. Raises an `AssertionError` that says what is wrong."""
    # The loop's pauses are of a chance that everybody shares.
    random.seed(seed)
    Schedule(seed, shape).run()


def broken(seed: int, shape: Shape) -> str | None:
    """Run the schedule of a seed; what was wrong, None where all is well."""
    try:
        run(seed, shape)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def shrunk(seed: int, shape: Shape, tries: int = 30) -> tuple[int, Shape]:
    """Find a smaller schedule that is broken, too: its seed and shape."""
    for name in ("members", "partitions", "records", "faults"):
        while (smaller := getattr(shape, name) - 1) >= 1:
            tried = replace(shape, **{name: smaller})
            found = next((s for s in range(seed, seed + tries) if broken(s, tried)), None)
            if found is None:
                break
            seed, shape = found, tried
    return seed, shape


def silence() -> None:
    """Have nothing logged: a schedule is full of failures."""

    def drop(*_: object) -> structlog.typing.EventDict:
        raise structlog.DropEvent

    structlog.configure(processors=[drop])
    metrics.MISSING.clear()
