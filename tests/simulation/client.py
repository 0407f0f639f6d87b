"""The simulated client: the group's member as librdkafka behaves, the odd things among it.

A pause outlives a revocation. What a partition has to say waits over a revocation and the next
assignment. Without an offset the client asks once, by itself, for what the group has committed.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, TopicPartition

from consumer.extent import OURS
from consumer.start import Place
from consumer.truncation import NO_EPOCH, known_epoch
from schemas.record import Record
from tests.simulation.broker import NO_OFFSET, Broker, Metadata, refusal
from tests.simulation.world import World

TIMED_OUT: Final = KafkaError._TIMED_OUT
NO_POSITION: Final = KafkaError._AUTO_OFFSET_RESET


class Message:
    """A record as the client hands it out, or an error of a partition."""

    def __init__(
        self, record: Record, error: KafkaError | None = None, epoch: int = NO_EPOCH
    ) -> None:
        self._record = record
        self._error = error
        self._epoch = epoch

    def topic(self) -> str:
        return self._record.topic

    def partition(self) -> int:
        return self._record.partition

    def offset(self) -> int:
        return self._record.offset

    def leader_epoch(self) -> int:
        return self._epoch

    def timestamp(self) -> tuple[int, int]:
        return (1, self._record.timestamp_ms)

    def key(self) -> bytes | None:
        return self._record.key

    def value(self) -> bytes | None:
        return self._record.value

    def headers(self) -> list[tuple[str, bytes]]:
        return []

    def error(self) -> KafkaError | None:
        return self._error


class Client:
    """The group's member, as librdkafka behaves."""

    def __init__(self, world: World, broker: Broker, name: str) -> None:
        self._world = world
        self._broker = broker
        self.name = name
        self._fetched: dict[Place, int] = {}
        """Where each assigned partition is read on; those without wait for an offset."""
        self._assigned: set[Place] = set()
        self._paused: set[Place] = set()
        self._stopped: set[Place] = set()
        """Those whose log has lost what was read: nothing is read there until they are assigned."""
        self._epochs: dict[Place, int] = {}
        """Of what stands before where they are read on, as far as that is known."""
        self._read: dict[Place, tuple[int, int]] = {}
        """After what was handed out last, and the epoch of that."""
        self._said: list[Message] = []
        self._answered = False
        self.revoked: Callable[[float], None] = lambda _: None
        """Is told how long a revocation has taken."""

    def subscribe(self, topics: list[str], on_assign: Any, on_revoke: Any, on_lost: Any) -> None:
        self._on_assign, self._on_revoke, self._on_lost = on_assign, on_revoke, on_lost
        self._broker.join(self.name)

    def consume(self, count: int, seconds: float) -> list[Message]:
        """Records that are there, or the first that comes within `seconds`."""
        self._serve()
        found = self._take(count)
        if not found and seconds:
            self._world.pause(seconds)
            found = self._take(count)
        return found

    def poll(self, seconds: float) -> Message | None:
        """One record, or none."""
        found = self.consume(1, seconds)
        return found[0] if found else None

    def _take(self, count: int) -> list[Message]:
        if self._broker.away:
            return []
        chance = self._world.chance
        said = [one for one in self._said if chance.random() < 1 / 2][:count]
        for one in said:
            self._said.remove(one)
        found, count = said, min(count, chance.choice((1, 3, 8)))
        # Sorted: the order of a set differs from process to process, and a seed is to be the same.
        places = sorted(self._fetched.keys() - self._paused)
        chance.shuffle(places)
        for place in places:
            at, log = self._fetched[place], self._broker.logs[place]
            taken = log[at : at + max(count - len(found), 0)]
            self._fetched[place] += len(taken)
            epochs = self._broker.epochs
            found += [Message(one, epoch=epochs.at(place, one.offset)) for one in taken]
            if taken:
                self._epochs[place] = epochs.at(place, taken[-1].offset)
                self._read[place] = (self._fetched[place], self._epochs[place])
        return found

    def _serve(self) -> None:
        """What the coordinator has to say, in callbacks within a poll."""
        self._world.pause(self._world.chance.choice((0.0, 0.0, 0.01)))
        broker = self._broker
        if broker.away:
            return
        broker.expire()
        broker.end_transactions()
        session = broker.sessions.get(self.name)
        if session is None:
            self._lose()
            broker.join(self.name)
            return
        if broker.preparing:
            session.joined = True
            broker.complete()
        if not broker.preparing and session.told != broker.generation:
            session.told = broker.generation
            self._take_over(session.target)
        self._look_for_offsets()

    def _take_over(self, target: set[Place]) -> None:
        broker = self._broker
        session = broker.sessions[self.name]
        if gone := session.owned - target:
            began = self._world.now
            self._on_revoke(self, _parts(gone))
            self.revoked(self._world.now - began)
            self._drop(gone)
            session.owned -= gone
            broker.trigger()
        new = target - session.owned
        self._answered = False
        session.owned |= new
        self._on_assign(self, _parts(new))
        if not self._answered:
            self.incremental_assign(_parts(new))

    def _lose(self) -> None:
        if self._assigned:
            gone = set(self._assigned)
            self._on_lost(self, _parts(gone))
            self._drop(gone)

    def _drop(self, places: Collection[Place]) -> None:
        # A pause outlives it, and so does what waits to be said.
        self._assigned.difference_update(places)
        self._stopped.difference_update(places)
        for place in places:
            for known in (self._fetched, self._epochs, self._read):
                known.pop(place, None)

    def would_notice(self, place: Place, first: int) -> bool:
        """Whether it finds out that a log has lost all from there on, if it has read that."""
        return self._fetched.get(place, 0) <= first or place in self._epochs

    def prove(self, place: Place) -> None:
        """Ask up to where the log has records of this epoch; a leader is new, or it was told to."""
        at, epoch = self._fetched.get(place, 0), self._epochs.get(place)
        if epoch is None or (end := self._broker.epochs.end(place, epoch)) >= at:
            return
        del self._fetched[place]
        self._stopped.add(place)
        before = self._broker.epochs.at(place, end - 1) if end else NO_EPOCH
        self._say(
            place,
            f"log truncation (leader epoch {epoch}): broker end offset is {end}"
            f" (offset leader epoch {before})",
        )

    def _say(self, place: Place, why: str) -> None:
        error = KafkaError(NO_POSITION, why)
        self._said.append(Message(Record(*place, 0, 0, None, None, ()), error))

    def _look_for_offsets(self) -> None:
        """By itself the client asks once for what the group has committed."""
        for place in sorted(self._assigned - self._fetched.keys() - self._stopped):
            if self._world.chance.random() < 1 / 2:
                continue
            if (at := self._broker.committed.get(place)) is not None:
                self._fetched[place] = at
                if (epoch := self._broker.committed_epochs.get(place)) is not None:
                    self._epochs[place] = epoch
            elif not any(
                one.error() and (one.topic(), one.partition()) == place for one in self._said
            ):
                self._say(place, "no previously committed offset available")

    def pause(self, parts: Sequence[TopicPartition]) -> None:
        self._paused |= {(part.topic, part.partition) for part in parts}

    def resume(self, parts: Sequence[TopicPartition]) -> None:
        self._paused -= {(part.topic, part.partition) for part in parts}

    def seek(self, part: TopicPartition) -> None:
        place = (part.topic, part.partition)
        if place not in self._fetched:
            raise refusal(KafkaError._STATE, "erroneous state")
        self._place(part)
        self._read.pop(place, None)
        self.prove(place)

    def committed(self, parts: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        """What the group has committed, once no transaction is open on it."""
        places = [(part.topic, part.partition) for part in parts]
        broker = self._broker

        def answers() -> bool:
            broker.end_transactions()
            return not broker.away and broker.stable(places)

        self._world.pause(self._world.chance.choice((0.0, 0.01)))
        if not self._world.wait(answers, timeout):
            raise refusal(TIMED_OUT, "timed out")
        return [
            TopicPartition(
                *place,
                broker.committed.get(place, NO_OFFSET),
                OURS,
                broker.committed_epochs.get(place, NO_EPOCH),
            )
            for place in places
        ]

    def incremental_assign(self, parts: Sequence[TopicPartition]) -> None:
        self._answered = True
        for part in parts:
            place = (part.topic, part.partition)
            self._assigned.add(place)
            if part.offset >= 0:
                self._place(part)

    def _place(self, part: TopicPartition) -> None:
        place = (part.topic, part.partition)
        self._fetched[place] = part.offset
        self._epochs.pop(place, None)
        if (epoch := known_epoch(part.leader_epoch)) != NO_EPOCH:
            self._epochs[place] = epoch

    def incremental_unassign(self, parts: Sequence[TopicPartition]) -> None:
        self._drop([(part.topic, part.partition) for part in parts])

    def consumer_group_metadata(self) -> object:
        session = self._broker.sessions.get(self.name)
        return Metadata(self.name, session.told if session else -1)

    def assignment(self) -> list[TopicPartition]:
        return []

    def position(self, parts: Sequence[TopicPartition]) -> list[TopicPartition]:
        nothing = (NO_OFFSET, NO_EPOCH)
        found = [(one, *self._read.get((one.topic, one.partition), nothing)) for one in parts]
        return [
            TopicPartition(one.topic, one.partition, at, leader_epoch=epoch)
            for one, at, epoch in found
        ]

    def list_topics(self, timeout: float) -> None:
        if self._broker.away:
            raise refusal(TIMED_OUT, f"timed out after {timeout:g} s")


def _parts(places: Collection[Place]) -> list[TopicPartition]:
    return [TopicPartition(*place) for place in sorted(places)]
