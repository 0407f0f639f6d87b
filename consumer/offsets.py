"""Offsets: up to where the group has come, and where to read on when it has no offsets of its own.

Kafka forgets a group's offsets a week after its last member left, or with the topic that holds
them. Reading everything again would charge nobody twice, and would publish every event again. So
the ledger remembers, with each batch, up to where each partition is written after it, and had been
published before it.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import structlog
from confluent_kafka import Consumer, TopicPartition

from consumer import metrics, placing, proof, resets
from consumer.asking import Ask
from consumer.extent import OURS, Extent
from consumer.outside import Ledger, Topics
from consumer.proof import Read
from consumer.start import Place, Start, lost_as, moves, start
from consumer.truncation import NO_EPOCH, Cut, known_epoch
from ledger.gap import LedgerBehindError, Published
from ledger.positions import Move
from runtime.kafka import committed

log = structlog.get_logger("consumer")


class Offsets:
    """Keeps positions in the ledger, and reads on from them. Not safe for threads.

    But for `remember`: partitions may come and leave while that is done in another thread.
    `doubted` is true when the ledger should be compared with what the group has committed: it may
    be another one than before, or an older state of it. Where Kafka has given an older offset than
    the group had, `set_back` says up to where a person wants the events again: the group's offset
    stays a person's. `given` are the offsets that have not been looked at since, and whether a
    member has set them; `former_log` the partitions whose log has lost what the group has read, and
    of which nothing is begun until the client has said from where on.
    """

    def __init__(self, topics: Topics, group: str, ledger: Ledger) -> None:
        self.doubted = True
        self.group = group
        self.topics = topics
        self._ledger = ledger
        self._topic_ids: dict[str, str] = {}
        self.set_back: Mapping[Place, int] = {}
        self.given: dict[Place, bool] = {}
        self.former_log: set[Place] = set()
        self._committed: dict[Place, int] = {}
        self._epochs: dict[Place, int] = {}
        self._placed: dict[Place, int] = {}
        self._unwritten: dict[Place, int] = {}
        self._unlearned = 0

    def positions(self, batch: Extent, before: Sequence[Extent] = ()) -> list[Published]:
        """Return up to where `batch` goes, for the ledger to remember with it.

        `before` are batches that this member has written and does not know to be published. What
        is published ends where they begin, and a ledger that does not know them has lost them. A
        topic whose id the broker does not tell is left out: its offsets could not be trusted.
        """
        written = dict(self._committed)
        # Between what is committed and the first record there may be markers of transactions.
        published = {place: min(at, written.get(place, at)) for place, at in batch.first.items()}
        for one in before:
            for place, offset in one.first.items():
                published[place] = min(published.get(place, offset), offset)
            for place, offset in one.end.items():
                written[place] = max(written.get(place, 0), offset)
        return self._known(
            {place: (end, published[place]) for place, end in batch.end.items()}, written
        )

    def published(self, batch: Extent) -> None:
        """Note that `batch` has been published; the next batch, or `remember`, writes it down."""
        self._unwritten |= batch.end
        self._committed |= batch.end
        for place in batch.end:
            self._placed.pop(place, None)
            self.former_log.discard(place)
        self._epochs |= {place: batch.epochs.get(place, NO_EPOCH) for place in batch.end}
        self.set_back = _ahead(self.set_back, batch.end)

    def remember(self) -> None:
        """Write down what is published, when there is nothing else to do.

        Has the ledger compared in any case: now and then is soon enough to notice that it was put
        back while nothing came in. Raises a `LedgerError` without a database; then it is written
        the next time.
        """
        self.doubted = True
        # A copy, because partitions may leave meanwhile.
        unwritten = {place: (at, at) for place, at in dict(self._unwritten).items()}
        known = self._known(unwritten, self._committed)
        if not known:
            return
        try:
            self._ledger.remember(known)
        except LedgerBehindError as error:
            log.warning("positions not written", detail=str(error))
        else:
            for one in known:
                self._unwritten.pop((one.topic, one.partition), None)

    def forget(self, topic: str, partition: int) -> None:
        """Leave a partition to its next owner."""
        for known in (self._unwritten, self._committed, self._epochs):
            known.pop((topic, partition), None)
        self._drop([(topic, partition)])

    def _drop(self, places: Collection[Place]) -> None:
        """Forget what was found when Kafka gave the group's offsets."""
        for place in places:
            self.given.pop(place, None)
            self._placed.pop(place, None)
            self.former_log.discard(place)
        self.set_back = _without(self.set_back, places)

    def _known(
        self, offsets: Mapping[Place, tuple[int, int]], at_least: Mapping[Place, int]
    ) -> list[Published]:
        return [
            Published(
                self.group,
                topic,
                partition,
                topic_id,
                written,
                published,
                at_least.get((topic, partition), 0),
                (topic, partition) in self.set_back,
            )
            for (topic, partition), (written, published) in offsets.items()
            if (topic_id := self._topic_ids.get(topic))
        ]

    def unlearn(self, topics: Collection[str]) -> None:
        """Forget the ids of topics, which may have been made anew; `learn` asks again."""
        self.doubted = True
        self._unlearned += 1
        for topic in topics:
            self._topic_ids.pop(topic, None)

    def learn(self, topics: Collection[str], ask: Ask) -> None:
        """Learn the ids of topics whose id is not known.

        Raises `KafkaException`, and what `ask` raises that asks Kafka.
        """
        while unknown := set(topics) - self._topic_ids.keys():
            before = self._unlearned
            found = ask(partial(self.topics.ids, unknown), "kafka")
            if before == self._unlearned:
                self._topic_ids |= found

    def committed_at(self, place: Place) -> int | None:
        """Return what the group has committed there, as far as it was asked; None for nothing."""
        return self._committed.get(place)

    def comparable(self, places: Collection[Place]) -> dict[Place, tuple[str, int]]:
        """Return the topic's id and what the group has committed, where both say something."""
        return {
            place: (topic_id, self._committed[place])
            for place in sorted(places)
            if place in self._committed
            and place not in self.former_log
            and (topic_id := self._topic_ids.get(place[0]))
        }

    def looked_at(self, given: Collection[Place], by_person: Mapping[Place, int]) -> None:
        """Note which of the `given` offsets a person has set back, and to where events are out."""
        for place in given:
            self.given.pop(place, None)
        self.set_back = {**self.set_back, **by_person}

    def says_nothing(self, place: Place) -> None:
        """Note that what the group has committed there is not of the log as it is now."""
        self.former_log.add(place)

    def cut(self, places: Collection[Place], ask: Ask) -> set[Place]:
        """Return where another record stands now than the last one that the group has committed.

        What it has committed there says nothing; whoever reads there finds out where the log was
        cut. Raises `KafkaException`, and what `ask` raises that asks Kafka.
        """
        now = proof.epochs_now(self.topics, self._read(places), ask)
        return {place for place, epoch in now.items() if epoch > self._epochs[place]}

    def _read(self, places: Collection[Place]) -> dict[Place, Read]:
        """Return what is known of the last record that the group has committed."""
        return {
            place: Read(offset - 1, self._epochs[place])
            for place in places
            if (offset := self._committed.get(place))
        }

    def noted(
        self, places: Collection[Place], answer: Sequence[TopicPartition]
    ) -> tuple[list[TopicPartition], set[Place]]:
        """Note what `committed` has answered of `places`.

        Returns where the group reads on, and the places for which it has no offset.
        """
        if not places:
            return [], set()
        self.doubted = True
        for place in places:
            # Kafka may have gone back: what is written down is what the ledger says itself then.
            for known in (self._unwritten, self._committed, self._epochs):
                known.pop(place, None)
        found = [part for part in answer if part.offset >= 0]
        self._committed |= {(part.topic, part.partition): part.offset for part in found}
        self._epochs |= {
            (part.topic, part.partition): known_epoch(part.leader_epoch) for part in found
        }
        self._drop(places)
        self.given |= {(part.topic, part.partition): part.metadata == OURS for part in found}
        return found, set(places) - {(part.topic, part.partition) for part in found}

    def start_over(self, consumer: Consumer, places: Mapping[Place, str], ask: Ask) -> bool:
        """Read partitions on in which the client has found no valid offset of the group.

        All or none of them: from where the group has committed, if it has and Kafka has that, else
        from where the ledger says. What Kafka deleted before it was read is counted when the ledger
        has it written down, with the new position. `places` says in the client's words what it
        found; `ask` does what asks the ledger or Kafka. False where another member has changed what
        the ledger says: to be asked again. Raises what `ask` raises, and `KafkaException` where
        Kafka is away.
        """
        topics = {topic for topic, _ in places}
        # First: what another member does from now on is noticed when this is to be changed.
        known = ask(partial(self._ledger.known, self.group, places))
        placed = {place: epoch for place, epoch in self._placed.items() if place in places}
        # What the client reports waits in its queue, over a revocation and the next assignment.
        self.noted(places, ask(partial(committed, consumer, places), "kafka"))
        self._placed |= placed
        self.unlearn(topics)
        self.learn(topics, ask)
        ids = {topic: self._topic_ids[topic] for topic in topics}
        lows, highs = ask(partial(self.topics.ends, places), "kafka")
        cuts = proof.cuts(self.topics, places, self._read(places), placed, ask)
        found = {
            place: start(
                known.get(place),
                ids[place[0]],
                lows[place],
                highs[place],
                self._committed.get(place),
                cut=cuts.get(place),
            )
            for place in sorted(places)
        }
        if not self._moved(moves(found, known, ids), ask):
            return False
        positions = {at: self._position(at, chosen, cuts.get(at)) for at, chosen in found.items()}
        placing.read_on(consumer, list(positions.values()))
        for place, chosen in found.items():
            self._placed.pop(place, None)
            if chosen.reset == "truncated":
                # What the ledger lacks below that, it has lost itself.
                self._committed[place] = chosen.offset
                self._epochs[place] = known_epoch(positions[place].leader_epoch)
                self._placed[place] = self._epochs[place]
            elif chosen.reset != "committed":
                self._committed.pop(place, None)
            if not ids[place[0]]:
                # Not to be written down without it, so it may be counted again.
                metrics.EXPIRED.labels(lost_as(chosen)).inc(chosen.expired)
        resets.tell(found, sorted(set(places.values())))
        return True

    def _position(self, place: Place, chosen: Start, cut: Cut | None) -> TopicPartition:
        epoch = NO_EPOCH
        if chosen.offset == self._committed.get(place):
            epoch = self._epochs[place]
        elif cut is not None and chosen.offset == cut.offset:
            epoch = cut.epoch
        return TopicPartition(*place, chosen.offset, leader_epoch=epoch)

    def _moved(self, wanted: Sequence[Move], ask: Ask) -> bool:
        """Have the ledger learn it, and count what it says is lost; whether it has learned all."""
        if not wanted:
            return True

        def move() -> bool:
            moved = self._ledger.move(self.group, wanted)
            for one in moved:
                metrics.EXPIRED.labels(one.reason).inc(one.lost)
            return len(moved) == len(wanted)

        return ask(move)


def _ahead(ends: Mapping[Place, int], reached: Mapping[Place, int]) -> Mapping[Place, int]:
    return {place: end for place, end in ends.items() if reached.get(place, 0) < end}


def _without(ends: Mapping[Place, int], places: Collection[Place]) -> Mapping[Place, int]:
    return {place: end for place, end in ends.items() if place not in places}
